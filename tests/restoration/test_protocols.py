"""Protocols of papers, on numbers that can be checked by hand."""

import math

import pytest
import torch

from spikevrt.config.train import PROTOCOLS as NAMES
from spikevrt.restoration.protocols import PROTOCOLS
from spikevrt.restoration.report import Report
from spikevrt.restoration.scores import score


def test_every_key_has_its_protocol():
    assert tuple(PROTOCOLS) == NAMES


def constant(*rgb):
    return torch.tensor(rgb).view(3, 1, 1).expand(3, 16, 16) / 255


def test_eight_bits_are_rounded_before_they_are_compared():
    sharp, near, far = constant(10.0, 20, 30), constant(10.4, 20.4, 30.4), constant(11.0, 20, 30)
    assert score(near, sharp, PROTOCOLS["rgb-float"])["psnr"] == pytest.approx(20 * math.log10(255 / 0.4), abs=1e-3)
    assert score(near, sharp, PROTOCOLS["kair-gopro"])["psnr"] == math.inf
    assert score(far, sharp, PROTOCOLS["kair-gopro"])["psnr"] == pytest.approx(10 * math.log10(255**2 * 3), abs=1e-3)
    # One grey level of red is 65.481 / 255 levels of Y.
    found = score(far, sharp, PROTOCOLS["y-uint8"])["psnr"]
    assert found == pytest.approx(20 * math.log10(255 / (65.481 / 255)), abs=1e-3)


def test_luma_spans_16_to_235():
    prepare = PROTOCOLS["y-uint8"].prepare
    for level, y in ((0.0, 16), (255.0, 235)):
        assert float(prepare(constant(level, level, level)).mean() * 255) == pytest.approx(y, abs=1e-3)
        assert float(prepare(constant(level, level, level)[:1]).mean() * 255) == pytest.approx(y, abs=1e-3)


def test_a_border_is_left_out():
    sharp = torch.zeros(3, 32, 32)
    picture = sharp.clone()
    picture[:, :4] = 1
    assert score(picture, sharp, PROTOCOLS["rgb-float"], 4)["psnr"] == math.inf
    assert score(picture, sharp, PROTOCOLS["rgb-float"], 3)["psnr"] < 20


@pytest.mark.parametrize(("protocol", "mean"), [("rgb-float", 12.5), ("kair-gopro", 15.0)])
def test_means_are_over_frames_or_over_clips(protocol, mean):
    report = Report({}, protocol)
    for clip, values in (("a", [10.0, 10, 10]), ("b", [20.0])):
        for stem, value in enumerate(values):
            report.add(clip, str(stem), {"ours": dict.fromkeys(("psnr", "ssim", "psnr_grey", "ssim_grey"), value)})
    assert report.overall().means["ours"]["psnr"] == mean
    assert [table.means["ours"]["psnr"] for table in report.tables()] == [10, 20, mean]

"""The warp error on clips whose motion and flicker are known."""

import sys

import pytest
import torch
from torch.nn import functional as F

from spikevrt.data.simulation.optical_flow import flow_finder
from spikevrt.restoration.consistency import Steadiness, find_track
from spikevrt.restoration.protocols import PROTOCOLS
from spikevrt.restoration.report import Report
from spikevrt.restoration.scores import titled

FLOAT, BYTES = PROTOCOLS["rgb-float"], PROTOCOLS["kair-gopro"]
SIZE = (48, 64)


@pytest.fixture(scope="module")
def find():
    pytest.importorskip("cv2")
    return flow_finder()


def texture(height, width, seed=0):
    """A smooth random picture (3,H,W) of whole grey levels around the middle."""
    noise = torch.rand(1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(noise, (height, width), mode="bicubic", align_corners=False)[0]
    return ((0.25 + 0.5 * smooth.clamp(0, 1)) * 255).round() / 255


def moving(frames=3, step=2):
    """A texture that moves by `step` pixels a frame to the left and a pixel up."""
    H, W = SIZE
    whole = texture(H + 16, W + 32)
    return [whole[:, t : t + H, step * t : step * t + W] for t in range(frames)]


def errors(find, sharp, pictures, protocol=FLOAT, border=0):
    """The warp errors of every frame, in colour and in grey."""
    steadiness = Steadiness(find, protocol, border)
    found = [steadiness.scores(s, {"ours": p})["ours"] for s, p in zip(sharp, pictures, strict=True)]
    return [of["warp_error"] for of in found], [of["warp_error_grey"] for of in found]


def test_what_only_moves_has_no_error(find):
    clip = moving()
    for of in errors(find, clip, clip):
        assert of[0] is None
        assert max(of[1:]) < 0.25
    still = [clip[0]] * 3
    assert errors(find, still, still)[0] == [None, pytest.approx(0, abs=1e-3), pytest.approx(0, abs=1e-3)]
    # Pictures that stand still while the scene moves are not steady.
    assert min(errors(find, clip, still)[0][1:]) > 5


@pytest.mark.parametrize("levels", [3, 16])
@pytest.mark.parametrize("border", [0, 8])
def test_flicker_of_a_known_amplitude_is_the_error(find, levels, border):
    clip = moving(4)
    flickering = [frame + levels / 255 * (t % 2) for t, frame in enumerate(clip)]
    for protocol in (FLOAT, BYTES):
        for of in errors(find, clip, flickering, protocol, border):
            assert of[1:] == pytest.approx([levels] * 3, abs=0.05)
    # Brightness that is wrong in every frame alike does not flicker.
    assert max(errors(find, clip, [frame + levels / 255 for frame in clip])[0][1:]) < 0.25


def test_grey_pictures_have_a_figure_in_grey_alone(find):
    clip = moving()
    colour, grey = errors(find, clip, [frame[:1] for frame in clip])
    assert colour == [None] * 3
    assert grey[0] is None
    assert max(grey[1:]) < 0.25


def test_what_was_hidden_or_outside_does_not_count(find):
    """A square moves over a background at rest: where it comes from is uncovered, and the pixels have no past."""
    back, square = texture(64, 96), texture(24, 24, seed=1)

    def frame(x):
        scene = back.clone()
        scene[:, 20:44, x : x + 24] = square
        return scene

    # Grey as the flow sees it.
    before, now = frame(40), frame(46)
    track = find_track(find, before[:1], now[:1])
    uncovered = track.shown[22:42, 41:45]
    assert uncovered.float().mean() < 0.2
    assert track.shown[24:40, 50:66].float().mean() > 0.95
    assert track.shown[:, 80:].float().mean() > 0.95
    # Six columns came in at the right, where nothing was before.
    wide = texture(64, 112)
    shown = find_track(find, wide[:1, :, :90], wide[:1, :, 6:96]).shown
    assert not shown[:, -5:].any()
    assert shown[8:-8, 8:-14].float().mean() > 0.95


def test_a_cut_has_no_figure(find):
    # Of smaller textures, more is found again by chance.
    clip = [texture(192, 256, seed) for seed in (0, 0, 1, 1)]
    still = pytest.approx(0, abs=1e-3)
    assert errors(find, clip, clip)[0] == [None, still, None, still]


@pytest.mark.parametrize("size", [(11, 11), (11, 70), (90, 12)])
def test_the_smallest_frames_that_are_scored(find, size):
    frame = texture(96, 96)[:, : size[0], : size[1]]
    assert errors(find, [frame] * 2, [frame] * 2)[0][1] == pytest.approx(0, abs=1e-3)


def test_without_opencv_there_is_no_flow(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert flow_finder() is None


def test_means_are_over_the_frames_that_have_a_figure():
    report = Report({}, pairs=True)
    for clip, values in (("a", [None, 2.0, 4.0]), ("b", [None]), ("c", [None, 9.0])):
        for stem, value in enumerate(values):
            report.add(clip, str(stem), {"ours": dict.fromkeys(titled("RGB"), 1.0) | dict.fromkeys(pairs(), value)})
    assert [table.means["ours"]["warp_error"] for table in report.tables()] == [3, None, 9, 5]
    assert report.tree()["frames"]["a"]["ours"]["warp_error_grey"] == [None, 2, 4]
    assert "warp error RGB" in report.text()
    assert "lower is better" in report.protocol_text


def pairs():
    return set(titled("RGB", pairs=True)) - set(titled("RGB"))

"""Metrics of another library: which columns there are, what it is given, and what is said where it is missing."""

import sys
from types import ModuleType
from urllib.error import URLError

import pytest
import torch

from spikevrt.errors import UserError
from spikevrt.evaluate import FURTHER, main
from spikevrt.restoration.perceptual import OFFERS, Perceptual

CPU = torch.device("cpu")


class Network(torch.nn.Module):
    """Stands for a metric with weights."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, a, b):
        return self.weight * (a - b).abs().mean()


@pytest.fixture
def piq(monkeypatch):
    """A library of that name, whose functions note the pictures they get."""
    library = ModuleType("piq")
    library.got = []

    def fsim(a, b):
        library.got.append((a, b))
        return (a * b).mean()

    library.fsim, library.LPIPS = fsim, Network
    monkeypatch.setitem(sys.modules, "piq", library)
    return library


def test_names_of_the_option_are_those_on_offer():
    assert tuple(OFFERS) == FURTHER


def test_pictures_in_colour_are_compared_within_the_border(piq):
    perceptual = Perceptual(["fsim", "lpips", "fsim"], CPU)
    assert list(perceptual.figures) == ["fsim", "lpips"]
    picture, sharp = torch.rand(2, 3, 40, 50) * 1.5
    scores = perceptual.scores(picture, sharp, border=3)
    inner = [x[None, :, 3:37, 3:47].clamp(0, 1) for x in (picture, sharp)]
    torch.testing.assert_close(piq.got[0], tuple(inner))
    a, b = inner
    assert scores == pytest.approx({"fsim": float((a * b).mean()), "lpips": float(2 * (a - b).abs().mean())})
    assert perceptual.scores(picture[:1], sharp) == {"fsim": None, "lpips": None}
    assert perceptual.about == "FSIM: higher is better, LPIPS (VGG): lower is better (piq, RGB in float)"


@pytest.mark.parametrize("error", [ImportError("No module named piq"), RuntimeError("operator does not exist")])
def test_a_library_that_does_not_load_names_the_remedy(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(UserError, match=rf"--metrics gmsd: needs piq and torchvision: pip install .*\({error}\)"):
        Perceptual(["gmsd"], CPU)


def test_weights_that_cannot_be_had_name_the_remedy(piq):
    def offline():
        raise URLError("no route to host")

    piq.LPIPS = offline
    with pytest.raises(UserError, match=r"--metrics lpips: its weights cannot be downloaded .*no route.* leave it out"):
        Perceptual(["lpips"], CPU)


def test_frames_that_are_too_small_are_named():
    with pytest.raises(UserError, match=r"clip: frames of 20x90 pixels are too small for --metrics, which wants 32x32"):
        Perceptual([], CPU).require_room((20, 90), "clip")


def test_an_unknown_name_is_refused():
    with pytest.raises(UserError, match="--metrics: invalid choice: 'lpisp'"):
        main(["--checkpoint", "tiny", "--metrics", "lpisp"])

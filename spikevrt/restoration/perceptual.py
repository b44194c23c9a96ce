"""Metrics of the piq library (Kastryulin et al. 2022), among them the perceptual ones: LPIPS, DISTS."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from spikevrt.errors import UserError, one_line
from spikevrt.restoration.metrics import Figure
from spikevrt.restoration.scores import Scores, inside

NEEDS_PIQ = "needs piq and torchvision: pip install piq torchvision"
LEAST_SIDE = 32
"""Of smaller pictures nothing is left at the coarsest scale of some metrics."""


@dataclass(frozen=True)
class Offer:
    """A metric of the library."""

    figure: Figure
    attribute: str
    """Its name in the module: a class if `learned`, else a function."""
    higher: bool
    """Whether higher is better."""
    learned: bool = False
    """Whether it needs weights, which the library downloads once, into the folder that TORCH_HOME names."""


OFFERS = {
    "lpips": Offer(Figure("LPIPS (VGG)", 4, ""), "LPIPS", False, learned=True),
    "dists": Offer(Figure("DISTS", 4, ""), "DISTS", False, learned=True),
    "fsim": Offer(Figure("FSIM", 4, ""), "fsim", True),
    "vsi": Offer(Figure("VSI", 4, ""), "vsi", True),
    "haarpsi": Offer(Figure("HaarPSI", 4, ""), "haarpsi", True),
    "gmsd": Offer(Figure("GMSD", 4, ""), "gmsd", False),
    "mdsi": Offer(Figure("MDSI", 4, ""), "mdsi", False),
}
"""By the names of `evaluate --metrics`: all compare a picture in colour with the sharp frame."""


class Perceptual:
    """Computes metrics of the library, of RGB in float without rounding, whatever the protocol.

    Args:
        names: some of `OFFERS`.
        device: where they are computed.

    Raises:
        UserError: the library or the weights of a metric are missing.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self.device = device
        self.functions = {name: load(name, device) for name in dict.fromkeys(names)}

    @property
    def figures(self) -> dict[str, Figure]:
        """The columns by the names of scores."""
        return {name: OFFERS[name].figure for name in self.functions}

    @property
    def about(self) -> str:
        """What is better, and what was compared, in one line."""
        sides = {True: "higher", False: "lower"}
        better = (f"{OFFERS[name].figure.title}: {sides[OFFERS[name].higher]} is better" for name in self.functions)
        return f"{', '.join(better)} (piq, RGB in float)"

    @staticmethod
    def require_room(size: tuple[int, int], name: str) -> None:
        """Raise a `UserError` if frames of `size` (H,W), which the message calls `name`, are too small."""
        if min(size) < LEAST_SIDE:
            raise UserError(
                f"{name}: frames of {size[0]}x{size[1]} pixels are too small for --metrics, which wants "
                f"{LEAST_SIDE}x{LEAST_SIDE} at least; leave it out, or use larger frames"
            )

    @torch.no_grad()
    def scores(self, picture: Tensor, sharp: Tensor, border: int = 0) -> Scores:
        """Score a picture (3,H,W) or (1,H,W) against the sharp frame (3,H,W); grey pictures have no figures.

        `border` pixels at each side are left out.
        """
        if picture.shape[0] == 1:
            return dict.fromkeys(self.functions)
        a, b = (inside(x, border)[None].float().clamp(0, 1).to(self.device) for x in (picture, sharp))
        return {name: float(function(a, b)) for name, function in self.functions.items()}


def load(name: str, device: torch.device) -> Callable[[Tensor, Tensor], Any]:
    """A metric as a function of two batches (1,3,H,W) in [0,1] that gives one number.

    Raises:
        UserError: the library or the metric's weights are missing.
    """
    try:
        piq = importlib.import_module("piq")
    except Exception as error:  # A torchvision for another PyTorch ends with a RuntimeError.
        raise UserError(f"--metrics {name}: {NEEDS_PIQ} ({one_line(str(error))})") from error
    offer = OFFERS[name]
    made = getattr(piq, offer.attribute)
    if not offer.learned:
        return made
    try:
        return made().to(device)
    except (URLError, OSError) as error:
        raise UserError(
            f"--metrics {name}: its weights cannot be downloaded ({one_line(str(error))}); run it once where there is "
            f"internet and copy {torch.hub.get_dir()}, or leave it out"
        ) from error

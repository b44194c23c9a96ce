"""Metrics of restored frames, in float, without borders, for values in [0,1]; `METRICS` lists them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spikevrt.config.limits import SSIM_SIDE
from spikevrt.errors import UserError

SIGMA = 1.5
K1, K2 = 0.01, 0.03


def require_window(size: tuple[int, int], name: str) -> None:
    """Raise a `UserError` if frames of `size` (H,W), which the message calls `name`, are smaller than SSIM's window."""
    if min(size) < SSIM_SIDE:
        raise UserError(
            f"{name}: frames of {size[0]}x{size[1]} pixels cannot be scored, as SSIM compares windows of "
            f"{SSIM_SIDE}x{SSIM_SIDE}; use larger frames"
        )


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """PSNR in dB over all channels and pixels: (...,C,H,W) in [0,1] -> (...) float64; inf for equal images."""
    error = (a.double() - b.double()).square().mean((-3, -2, -1))
    return -10 * error.log10()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity (Wang et al. 2004): (...,C,H,W) in [0,1] -> (...) float64.

    The Gaussian kernel has 11 x 11 pixels and sigma 1.5; only positions where it lies inside the image count, and
    channels are averaged.

    Raises:
        UserError: the images are smaller than the kernel.
    """
    shape = a.shape
    require_window((shape[-2], shape[-1]), "SSIM")
    a, b = (x.double().reshape(-1, 1, *shape[-2:]) for x in (a, b))

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))

    place = torch.arange(SSIM_SIDE, dtype=torch.float64, device=a.device) - SSIM_SIDE // 2
    kernel = torch.exp(-place.square() / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    mean_a, mean_b = blur(a), blur(b)
    var_a = blur(a * a) - mean_a.square()
    var_b = blur(b * b) - mean_b.square()
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = K1**2, K2**2
    index = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    index = index / ((mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2))
    return index.mean((-3, -2, -1)).view(shape[:-2]).mean(-1)


@dataclass(frozen=True)
class Figure:
    """How a figure of a picture is called and written."""

    title: str
    decimals: int
    unit: str

    def text(self, value: float | None) -> str:
        """A value as text without its unit; empty for None."""
        return "" if value is None else f"{value:.{self.decimals}f}"


@dataclass(frozen=True)
class Metric(Figure):
    """A metric that gives one number per image; higher is better."""

    function: Callable[[Tensor, Tensor], Tensor]
    """Takes two batches of images (...,C,H,W) in [0,1] with any C; returns (...)."""


METRICS = {"psnr": Metric("PSNR", 2, " dB", psnr), "ssim": Metric("SSIM", 4, "", ssim)}
"""The metrics of validation and evaluation, by their names in logs and JSON."""
PAIR_FIGURES = {"warp_error": Figure("warp error", 2, "/255")}
"""Figures of a frame and the one before (see `consistency.py`), by their names in JSON; lower is better."""
BEST_BY = "psnr"
"""The metric that decides which weights of a run are saved as the best."""


BLURRED = "blurred_"
"""What the names of figures of the blurred input begin with."""


def summary(values: dict[str, float]) -> str:
    """The values as text, for example `PSNR 30.12 dB, SSIM 0.9034`; with the blurred input's if there are any."""

    def text(prefix: str) -> str:
        return ", ".join(f"{m.title} {m.text(values[prefix + name])}{m.unit}" for name, m in METRICS.items())

    return f"{text('')} (blurred input: {text(BLURRED)})" if BLURRED + BEST_BY in values else text("")

"""Figures of pictures by name, in the colours of a protocol and in grey, and their means."""

from dataclasses import replace

from torch import Tensor

from spikevrt.data.spikes.tfp import grey
from spikevrt.restoration.metrics import METRICS, PAIR_FIGURES, Figure
from spikevrt.restoration.protocols import Protocol

Scores = dict[str, float | None]
"""Figures of one picture, or means over many, with the names of `titled`.

Grey pictures have no figures in colour, and the first frame of a scene has none of pairs of frames.
"""
GREY_SUFFIX = "_grey"


def titled(colours: str, pairs: bool = False) -> dict[str, Figure]:
    """All figures, for example `psnr` and `psnr_grey`, also those of `pairs` of frames; titles name the colours."""
    figures = METRICS | PAIR_FIGURES if pairs else METRICS
    return {
        name + suffix: replace(figure, title=f"{figure.title} {of}")
        for suffix, of in (("", colours), (GREY_SUFFIX, "grey"))
        for name, figure in figures.items()
    }


def views(picture: Tensor, protocol: Protocol) -> dict[str, Tensor | None]:
    """What is compared of a picture (3,H,W) or (1,H,W), by the suffix of a figure's name: colours, if any, and grey."""
    if picture.shape[0] == 1:
        return {"": None, GREY_SUFFIX: picture}
    return {"": protocol.prepare(picture), GREY_SUFFIX: grey(picture)}


def inside(picture: Tensor, border: int) -> Tensor:
    """A picture (C,H,W) without `border` pixels at each side."""
    inner = slice(border, -border or None)
    return picture[:, inner, inner]


def score(picture: Tensor, sharp: Tensor, protocol: Protocol, border: int = 0) -> Scores:
    """Score a picture (3,H,W) or (1,H,W) against the sharp frame (3,H,W), without `border` pixels at each side."""
    wanted = views(inside(sharp, border), protocol).values()
    scores: Scores = {}
    for (suffix, a), b in zip(views(inside(picture, border), protocol).items(), wanted, strict=True):
        for name, metric in METRICS.items():
            scores[name + suffix] = None if a is None or b is None else float(metric.function(a, b))
    return scores


def mean_scores(scores: list[Scores]) -> Scores:
    """The mean of every figure over the pictures of one method."""
    return {name: mean([of[name] for of in scores]) for name in scores[0]}


def mean(values: list[float | None]) -> float | None:
    """The mean of the values that are there, or None if there is none."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None

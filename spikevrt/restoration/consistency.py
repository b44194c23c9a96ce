"""How steady the frames of a clip are: each is compared with the one before, along the flow of the sharp frames.

Which pixels the frame before did not show is found by following the flow there and back (Sundaram et al. 2010). Frames
of H x W pixels.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikevrt.data.simulation.optical_flow import LEAST_SHOWN, NEEDS_OPENCV, FlowFinder, compare_flows
from spikevrt.data.spikes.tfp import grey
from spikevrt.restoration.metrics import PAIR_FIGURES
from spikevrt.restoration.protocols import BYTE, Protocol
from spikevrt.restoration.scores import Scores, views
from spikevrt_kernels.flow_warp import flow_warp

ABOUT = (
    "warp error: mean difference from the frame before, moved by the optical flow of the sharp frames, without what "
    "that frame did not show; lower is better"
)
MISSING = f"without the warp error, which {NEEDS_OPENCV}"
[WARP_ERROR] = PAIR_FIGURES


class Track(NamedTuple):
    """Where the pixels of a frame were in the frame before."""

    flow: Tensor
    """(1,2,H,W): from each pixel to its place in the frame before."""
    shown: Tensor
    """(H,W) bool: whether the frame before shows it."""


def find_track(find: FlowFinder, before: Tensor, now: Tensor) -> Track | None:
    """Follow a frame (1,H,W) in [0,1] to the frame before; None where the scene was cut between them."""
    first, second = ((picture[0] * BYTE).round().to(torch.uint8).numpy() for picture in (now, before))
    back, forth = find(first, second), find(second, first)
    shown = np.empty(first.shape, np.uint8)
    compare_flows(back, forth, shown)
    if shown.mean() < LEAST_SHOWN:
        return None
    return Track(torch.from_numpy(back).permute(2, 0, 1)[None], torch.from_numpy(shown > 0))


def warp_error(before: Tensor, now: Tensor, track: Track) -> float | None:
    """Mean absolute difference of a picture (C,H,W) in [0,1] from the one before, in grey levels of 255.

    None if nothing of it was shown before.
    """
    moved = flow_warp(before[None], track.flow, padding="border")[0]
    differences = (now - moved).abs().mean(0)[track.shown].double()
    return float(differences.mean()) * BYTE if len(differences) else None


class Steadiness:
    """Compares the frames of one clip, which come in their order, each with the one before.

    Args:
        find: finds optical flow.
        protocol: in which colours.
        border: pixels at each side that are left out.
    """

    def __init__(self, find: FlowFinder, protocol: Protocol, border: int = 0) -> None:
        self._find = find
        self._protocol = protocol
        self._border = border
        self._before: tuple[Tensor, dict[str, dict[str, Tensor | None]]] | None = None

    def scores(self, sharp: Tensor, pictures: Mapping[str, Tensor]) -> dict[str, Scores]:
        """`PAIR_FIGURES` of the pictures of the next frame, by method; None in the first frame and after a cut.

        Args:
            sharp: the sharp frame (3,H,W) in [0,1].
            pictures: (3,H,W) or (1,H,W) in [0,1], of the same methods in every frame.
        """
        followed = grey(sharp)
        seen = {name: views(picture, self._protocol) for name, picture in pictures.items()}
        before, self._before = self._before, (followed, seen)
        track = find_track(self._find, before[0], followed) if before else None
        if before is None or track is None:
            return {name: {WARP_ERROR + suffix: None for suffix in of} for name, of in seen.items()}
        track = self._inner(track)
        return {
            name: {
                WARP_ERROR + suffix: None if was is None or now is None else warp_error(was, now, track)
                for (suffix, now), was in zip(of.items(), before[1][name].values(), strict=True)
            }
            for name, of in seen.items()
        }

    def _inner(self, track: Track) -> Track:
        """Without the border."""
        inner = slice(self._border, -self._border or None)
        kept = torch.zeros_like(track.shown)
        kept[inner, inner] = track.shown[inner, inner]
        return track._replace(shown=kept)

"""What restoring needs by the size of frames or tiles: the peak of one temporal window, predicted from one forward."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from spikevrt.config import Config
from spikevrt.data.clips.batches import model_input
from spikevrt.models import build_model, run_model
from spikevrt.models.half_weights import half_precision
from spikevrt.models.segment_costs import signature
from spikevrt.models.segments import Segment, following
from spikevrt.restoration.padding import plan_padding
from spikevrt_kernels.core.backends import planning
from spikevrt_kernels.core.names import Backends
from spikevrt_kernels.proof.memory import PeakMode, without_storage

CPU = torch.device("cpu")
TRACED = (256, 256)
"""The size of the forward that is looked at; larger ones take longer where attention works in chunks."""


@dataclass(frozen=True)
class RestorationMemory:
    """The memory of restoring one temporal window, predicted on tensors without storage."""

    fixed: int
    """Bytes of weights and their copies in half precision."""
    per_pixel: float
    """Bytes of everything else at the peak, for each pixel of a padded frame."""

    def peak(self, size: tuple[int, int]) -> int:
        """Peak bytes for frames of `size` (H,W), already padded."""
        return self.fixed + int(self.per_pixel * size[0] * size[1])


def padded_size(config: Config, size: tuple[int, int]) -> tuple[int, int]:
    """The size (H,W) to which frames are padded; spikes have their size."""
    return plan_padding(size, config.model.window_size).padded


def restoration_memory(
    config: Config, backends: Backends, half: torch.dtype | None, for_cuda: bool = True
) -> RestorationMemory:
    """Look at one forward; all that it holds beside weights grows with the area.

    Args:
        config: gives DATA.CLIP_LEN frames a window.
        backends: of the operators; `triton` works on any machine.
        half: autocast's type, or None for float32.
        for_cuda: operators take the forms that they have on CUDA, otherwise those of the CPU.

    Raises:
        BackendError: a backend cannot run the model.
    """
    size = padded_size(config, TRACED)
    fixed, peak = window_peak(config, backends, half, size, for_cuda)
    return RestorationMemory(fixed, (peak - fixed) / (size[0] * size[1]))


def window_peak(
    config: Config, backends: Backends, half: torch.dtype | None, size: tuple[int, int], for_cuda: bool = True
) -> tuple[int, int]:
    """Bytes of weights, and at the peak of restoring CLIP_LEN frames of `size` (H,W), already padded."""
    with planning(for_cuda), torch.device("meta"):
        model = build_model(config, False, backends).eval()
    with without_storage(for_cuda), PeakMode() as mode, mode.inside_operators(), torch.no_grad():
        model.to_empty(device="cpu")
        with half_precision(model, CPU, half), following(Once(mode)):
            fixed = mode.now
            raw = window_on_device(config, size)
            run_model(model, *model_input(raw, config.data.norm))
    return fixed, mode.peak


class Once:
    """A director without gradients: runs every distinct segment once, and then only adds what it held at its peak."""

    def __init__(self, mode: PeakMode) -> None:
        self.mode = mode
        self.known: dict[Hashable, tuple[int, Any]] = {}
        """Bytes at the peak beyond what was there before, and what makes outputs without values."""

    def __call__(self, one: Segment) -> Any:
        """The outputs of a segment."""
        mode, key = self.mode, signature(one)
        before, peak = mode.now, mode.peak
        if key not in self.known:
            mode.peak = before
            out = one.function(*one.inputs)
            self.known[key] = mode.peak - before, tree_map_only(Tensor, maker_of, out)
            mode.peak = max(mode.peak, peak)
            return out
        extra, out = self.known[key]
        mode.peak = max(peak, before + extra)
        return tree_map_only(partial, lambda make: make(), out)


def maker_of(x: Tensor) -> partial[Tensor]:
    """Makes tensors like x."""
    return partial(torch.empty_strided, x.shape, x.stride(), dtype=x.dtype)


def window_on_device(config: Config, size: tuple[int, int]) -> dict[str, Tensor]:
    """The frames and spike counts of one window, as `deblur` sends them to its device."""
    T, K = config.data.clip_len, config.data.k
    raw = {"blur": torch.empty(1, T, 3, *size, dtype=torch.uint8)}
    if config.model.use_spike:
        raw["counts"] = torch.empty(1, T, K, *size, dtype=torch.uint8)
        raw["bin_frames"] = torch.empty(1, T, K, dtype=torch.int64)
    return raw

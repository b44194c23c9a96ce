"""From uint8 batches to the model's input, on the device."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikevrt.config import NormConfig
from spikevrt.errors import UserError
from spikevrt.system.device import still_busy


@dataclass(frozen=True)
class Batch:
    """Frames (B,T,3,H,W) float in [0,1]; voxels (B,T,K,h,w) float, or None without spikes."""

    blur: Tensor
    sharp: Tensor
    voxels: Tensor | None


class Feed:
    """Batches on the device; the next one is fetched and copied there while one is at work.

    An error of the data waits until its batch is asked for: no step before it is lost.

    Args:
        batches: collated samples, in pinned memory where the device is CUDA.
        device: where they go.
        norm: of the voxels.
    """

    def __init__(self, batches: Iterator[dict[str, Any]], device: torch.device, norm: NormConfig) -> None:
        self.batches = batches
        self.device = device
        self.norm = norm
        self.waited = 0.0
        """Seconds in which the data kept the device waiting."""
        self._next: dict[str, Tensor] | Exception | None = None

    def take(self) -> Batch:
        """The next batch.

        Raises:
            UserError: its data cannot be read.
            StopIteration: there was none left.
        """
        self.fetch()
        taken, self._next = self._next, None
        if taken is None:
            raise StopIteration
        if isinstance(taken, Exception):
            raise taken
        return scale(taken, self.norm)

    def fetch(self) -> None:
        """Wait for the next sample, if there is one, and start its way to the device."""
        if self._next is not None:
            return
        start = time.perf_counter()
        try:
            raw = next_batch(self.batches)
            self._next = None if raw is None else send(raw, self.device)
        except Exception as error:
            self._next = error
        if not still_busy(self.device):
            self.waited += time.perf_counter() - start


def next_batch(batches: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    """The next collated sample, None after the last.

    Raises:
        UserError: also one of a worker process, said as one of this process would be.
    """
    try:
        return next(batches, None)
    except UserError as error:
        # The loader puts the worker's whole traceback in the message; its last line ends with ours.
        raise UserError(str(error).strip().splitlines()[-1].rpartition(f"{UserError.__name__}: ")[2]) from None


def to_device(raw: dict[str, Any], device: torch.device, norm: NormConfig) -> Batch:
    """Move a collated sample and scale it; the bus carries bytes."""
    return scale(send(raw, device), norm)


def send(raw: dict[str, Any], device: torch.device) -> dict[str, Tensor]:
    """The tensors of a collated sample on their way to the device; the host does not wait for pinned memory."""
    return {name: x.to(device, non_blocking=True) for name, x in raw.items() if isinstance(x, Tensor)}


def scale(moved: dict[str, Tensor], norm: NormConfig) -> Batch:
    """What `send` moved, as real numbers."""
    blur, voxels = model_input(moved, norm)
    return Batch(blur, moved["sharp"].float() / 255, voxels)


def model_input(moved: dict[str, Tensor], norm: NormConfig) -> tuple[Tensor, Tensor | None]:
    """What the model takes, of what `send` moved.

    Args:
        moved: `blur` uint8 (B,T,3,H,W); with spikes also `counts` (B,T,K,h,w) and `bin_frames` (B,T,K).
        norm: of the voxels.

    Returns:
        Frames (B,T,3,H,W) float32 in [0,1], and voxels (B,T,K,h,w) float32 or None.
    """
    voxels = normalise_voxels(moved["counts"], moved["bin_frames"], norm) if "counts" in moved else None
    return moved["blur"].float() / 255, voxels


def normalise_voxels(counts: Tensor, bin_frames: Tensor, norm: NormConfig) -> Tensor:
    """DATA.NORM: rate or counts, then log1p, then (x - mean) / std, on the device of the counts.

    Args:
        counts: (...,K,h,w) integers.
        bin_frames: (...,K) spike frames in each bin; a bin of none gives 0.
        norm: the section of the configuration.

    Returns:
        (...,K,h,w) float32; with mode `rate` and nothing else, in [0,1].
    """
    x = counts.to(torch.float32)
    if norm.mode == "rate":
        x = x / bin_frames.clamp_min(1).to(torch.float32)[..., None, None]
    if norm.log1p:
        x = x.log1p()
    return (x - norm.mean) / norm.std

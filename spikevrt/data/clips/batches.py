"""Moves uint8 batches to the device and turns them into the model's input."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikevrt.config import NormConfig
from spikevrt.data.clips.loading import failure_line
from spikevrt.errors import UserError
from spikevrt.system.device import still_busy


@dataclass(frozen=True)
class Batch:
    """Frames (B,T,3,H,W) float32 in [0,1]; voxels (B,T,K,h,w) float32, or None without spikes."""

    blur: Tensor
    sharp: Tensor
    voxels: Tensor | None
    draws: Sequence[int] = ()
    """The samples' draw numbers, on the host; none if the batch is not of a training run."""


class Feed:
    """Provides batches on the device; the next one is copied there while the current one is used.

    An error in the data is raised only when its batch is requested, so that no earlier step is lost.

    Args:
        batches: collated samples, in pinned memory if the device is CUDA.
        device: where the batches go.
        norm: how the voxels are normalised.
    """

    def __init__(self, batches: Iterator[dict[str, Any]], device: torch.device, norm: NormConfig) -> None:
        self.batches = batches
        self.device = device
        self.norm = norm
        self.waited = 0.0
        """Seconds for which the device had nothing to do because data was missing."""
        self._next: dict[str, Any] | Exception | None = None

    def take(self) -> Batch:
        """The next batch.

        Raises:
            UserError: its data cannot be read.
            StopIteration: there is no further batch.
        """
        self.fetch()
        taken, self._next = self._next, None
        if taken is None:
            raise StopIteration
        if isinstance(taken, Exception):
            raise taken
        return scale(taken, self.norm)

    def fetch(self) -> None:
        """Load the next batch, if there is one, and start copying it to the device."""
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
    """The next collated batch, or None after the last.

    Raises:
        UserError: a sample cannot be read; an error of a worker process is reduced to the same single line.
    """
    try:
        return next(batches, None)
    except Exception as error:
        line = failure_line(error)
        if line is None:
            raise
        raise UserError(line) from None


def to_device(raw: dict[str, Any], device: torch.device, norm: NormConfig) -> Batch:
    """Move a collated batch to the device and scale it there; only bytes are copied."""
    return scale(send(raw, device), norm)


def send(raw: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Start copying the tensors of a collated batch to the device; from pinned memory the host does not wait."""
    return {name: x.to(device, non_blocking=True) if isinstance(x, Tensor) else x for name, x in raw.items()}


def scale(moved: dict[str, Any], norm: NormConfig) -> Batch:
    """Turn the uint8 tensors that `send` moved into a `Batch`."""
    blur, voxels = model_input(moved, norm)
    return Batch(blur, moved["sharp"].float() / 255, voxels, moved.get("draw", ()))


def model_input(moved: dict[str, Any], norm: NormConfig) -> tuple[Tensor, Tensor | None]:
    """The model's input from the uint8 tensors that `send` moved.

    Args:
        moved: `blur` (B,T,3,H,W), uint8 or floats in [0,1]; with spikes also `counts` (B,T,K,h,w) and `bin_frames`
            (B,T,K).
        norm: how the voxels are normalised.

    Returns:
        Frames (B,T,3,H,W) float32 in [0,1], and voxels (B,T,K,h,w) float32 or None.
    """
    voxels = normalise_voxels(moved["counts"], moved["bin_frames"], norm) if "counts" in moved else None
    return unit(moved["blur"]), voxels


def unit(frames: Tensor) -> Tensor:
    """Frames as float32 in [0,1]: uint8, or floats that are so already."""
    return frames.float() if frames.is_floating_point() else frames.float() / 255


def normalise_voxels(counts: Tensor, bin_frames: Tensor, norm: NormConfig) -> Tensor:
    """Normalise voxels as DATA.NORM says: rate or counts, then log1p, then (x - mean) / std.

    Args:
        counts: (...,K,h,w) integers, on any device.
        bin_frames: (...,K) spike frames per bin; an empty bin gives 0.
        norm: DATA.NORM.

    Returns:
        (...,K,h,w) float32 on the device of `counts`; with mode `rate` and the defaults otherwise, in [0,1].
    """
    x = counts.to(torch.float32)
    if norm.mode == "rate":
        x = x / bin_frames.clamp_min(1).to(torch.float32)[..., None, None]
    if norm.log1p:
        x = x.log1p()
    return (x - norm.mean) / norm.std

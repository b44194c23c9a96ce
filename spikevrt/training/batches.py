"""From uint8 batches to the model's input, on the device."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikevrt.config import NormConfig
from spikevrt.data.voxel_norm import normalise_voxels
from spikevrt.errors import UserError


@dataclass(frozen=True)
class Batch:
    """Frames (B,T,3,H,W) float in [0,1]; voxels (B,T,K,h,w) float, or None without spikes."""

    blur: Tensor
    sharp: Tensor
    voxels: Tensor | None


def next_batch(batches: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """The next collated sample; an error of a worker process is said as one of this process would be."""
    try:
        return next(batches)
    except UserError as error:
        # The loader puts the worker's whole traceback in the message; its last line ends with ours.
        raise UserError(str(error).strip().splitlines()[-1].rpartition(f"{UserError.__name__}: ")[2]) from None


def to_device(raw: dict[str, Any], device: torch.device, norm: NormConfig) -> Batch:
    """Move a collated sample and scale it; the bus carries bytes."""

    def move(name: str) -> Tensor:
        return raw[name].to(device, non_blocking=True)

    voxels = None
    if "counts" in raw:
        voxels = normalise_voxels(move("counts"), move("bin_frames"), norm)
    return Batch(move("blur").float() / 255, move("sharp").float() / 255, voxels)

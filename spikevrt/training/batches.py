"""From uint8 batches to the model's input, on the device."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikevrt.config import NormConfig
from spikevrt.data.voxel_norm import normalise_voxels


@dataclass(frozen=True)
class Batch:
    """Frames (B,T,3,H,W) float in [0,1]; voxels (B,T,K,h,w) float, or None without spikes."""

    blur: Tensor
    sharp: Tensor
    voxels: Tensor | None


def to_device(raw: dict[str, Any], device: torch.device, norm: NormConfig) -> Batch:
    """Move a collated sample and scale it; the bus carries bytes."""

    def move(name: str) -> Tensor:
        return raw[name].to(device, non_blocking=True)

    voxels = None
    if "counts" in raw:
        voxels = normalise_voxels(move("counts"), move("bin_frames"), norm)
    return Batch(move("blur").float() / 255, move("sharp").float() / 255, voxels)

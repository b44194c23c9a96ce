"""The spike encoder: a pyramid of 3-D convolutions over spike voxels.

B clips, T frames, K spike bins, H x W spike pixels, C_i channels at scale i.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikevrt.models.init import init_framewise, init_smooth
from spikevrt.models.segments import segment
from spikevrt_kernels.core.backends import runs_on_cpu, runs_plainly


class ResidualBlock3D(nn.Module):
    """relu(x + conv2(relu(conv1(x)))) with 3x3x3 convolutions and no norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,T,H,W) -> (B,C,T,H,W)."""
        return F.relu_(x + self.conv2(F.relu_(self.conv1(x))))


class SpikeEncoder3D(nn.Module):
    """Encodes voxels into features at four scales; by default each scale halves the size and keeps all frames.

    Args:
        in_bins: K.
        channels_per_scale: C_1..C_4.
        temporal_strides: strides of the three downsamplings along time; None = (1,1,1).
        spatial_strides: their strides in space; None = (2,2,2).
    """

    def __init__(
        self,
        in_bins: int,
        channels_per_scale: Sequence[int],
        temporal_strides: Sequence[int] | None = None,
        spatial_strides: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        widths = list(channels_per_scale)
        t_strides, s_strides = temporal_strides or (1, 1, 1), spatial_strides or (2, 2, 2)
        self.in_proj = nn.Conv3d(in_bins, widths[0], 3, padding=1)
        self.res0 = residual_pair(widths[0])
        self.downs = nn.ModuleList(
            nn.Conv3d(i, o, 3, stride=(t, s, s), padding=1)
            for i, o, t, s in zip(widths[:-1], widths[1:], t_strides, s_strides, strict=True)
        )
        self.residuals = nn.ModuleList(residual_pair(width) for width in widths[1:])
        init_smooth(self.in_proj)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                init_framewise(layer)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x (B,T,K,H,W) -> 4 of (B,C_i,T_i,H_i,W_i)."""
        x, on_cpu = x.transpose(1, 2), runs_on_cpu(x)
        if on_cpu and runs_plainly(x):  # Counts and plans see the model without this copy.
            # All layers keep this layout; the gradients of a convolution in the other one take up to twice the time.
            x = x.contiguous(memory_format=torch.channels_last_3d)
        # On the CPU, PyTorch 2.13's gradients of a bfloat16 kernel of 3x3x3 hold numbers that nobody wrote.
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            scales = zip((self.in_proj, *self.downs), (self.res0, *self.residuals), strict=True)
            feature, features = x, []
            for layer, residual in scales:
                feature = segment("spike encoder", [layer, residual], partial(encode, layer, residual), feature)
                features.append(feature)
        return features


def encode(layer: nn.Module, residual: nn.Module, x: Tensor) -> Tensor:
    """One scale: residual(relu(layer(x)))."""
    return residual(F.relu_(layer(x)))


def residual_pair(channels: int) -> nn.Sequential:
    """Two residual blocks."""
    return nn.Sequential(ResidualBlock3D(channels), ResidualBlock3D(channels))

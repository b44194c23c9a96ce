"""Parallel warping: neighbours aligned by flow-guided modulated deformable convolution.

B clips, T frames, C channels, H x W pixels, G deformable groups, N = 2 B (T-1) pairs (both directions).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikevrt_kernels.core.backends import resolve_backend, runs_on_cpu, runs_plainly
from spikevrt_kernels.core.precision import at_least_fp32
from spikevrt_kernels.deform_conv import deform_conv, flow_guided_deform_conv, tap_major
from spikevrt_kernels.flow_warp import flow_warp
from spikevrt_kernels.warp_pairs import warp_pairs

TAPS = 9
STILL_MASK = 0.5
"""The mask of a tap whose logit is 0."""


class DCNv2PackFlowGuided(nn.Module):
    """Deformable 3x3 convolution with offsets of at most `max_residue` pixels around an optical flow."""

    order: Tensor

    def __init__(
        self,
        channels: int,
        deformable_groups: int,
        max_residue: float,
        backend: str = "auto",
        warping: str = "auto",
    ) -> None:
        super().__init__()
        self.groups = deformable_groups
        self.max_residue = max_residue
        self.backend = backend
        self.warping = warping
        self.overwrite = False
        """Whether the backward pass may write over what it has read, and happens once; see `segments.compute`."""
        self.register_buffer("order", tap_major(deformable_groups), persistent=False)
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.conv_offset = nn.Sequential(
            nn.Conv2d(2 * channels + 2, channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, 3 * TAPS * deformable_groups, 3, padding=1),
        )
        bound = 1 / math.sqrt(channels * TAPS)
        nn.init.uniform_(self.weight, -bound, bound)
        for parameter in self.conv_offset[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, warped: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        """Align x to `current`.

        Args:
            x: (N,C,H,W) features of a neighbouring frame.
            warped: (N,C,H,W) x, already warped by the flow.
            current: (N,C,H,W) features of the frame to align to.
            flow: (N,2,H,W), (dx, dy) in pixels.

        Returns:
            (N,C,H,W).
        """
        pairs = torch.cat((warped, current, flow.to(warped.dtype)), 1)
        if runs_on_cpu(pairs) and runs_plainly(pairs):  # Counts and plans see the model without this copy.
            pairs = pairs.contiguous(memory_format=torch.channels_last)  # Convolutions take less time, and keep it.
        predicted = self.conv_offset(pairs).contiguous()
        residue, logits = predicted.split((2 * TAPS * self.groups, TAPS * self.groups), 1)
        toward = flow.flip(1).repeat(1, TAPS * self.groups, 1, 1)  # (dy, dx) for every group and tap
        offset = self.max_residue * at_least_fp32(residue).tanh() + toward
        return deform_conv(x, offset, at_least_fp32(logits).sigmoid(), self.weight, self.bias)

    def neighbours(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """Align each frame's next and previous frame to it, all pairs in one batch.

        Args:
            x: (B,T,H,W,C) features.
            backward: (B,T-1,2,H,W) flow (dx, dy) in pixels that aligns frame t+1 to t.
            forward: (B,T-1,2,H,W) flow that aligns frame t to t+1.

        Returns:
            (2,B,T-1,H,W,C): frames 1..T-1 aligned to the ones before, and frames 0..T-2 aligned to the ones after.
        """
        flow = torch.cat((backward, forward)).flatten(0, 1)
        chosen = resolve_backend(self.backend, "deform_conv", x)
        if chosen == "triton":
            predicted = self.predicted_by_tap(warp_pairs(x, flow, self.warping))
            layer = self.weight, self.bias, self.max_residue
            return flow_guided_deform_conv(x, predicted, flow, *layer, "triton", self.overwrite)
        B, T, H, W, C = x.shape
        if chosen == "sdpa" and self.is_still(flow):
            return self.neighbours_in_place(x)
        frames = x.permute(0, 1, 4, 2, 3)
        neighbour = torch.cat((frames[:, 1:], frames[:, :-1])).flatten(0, 1)  # (N,C,H,W)
        current = torch.cat((frames[:, :-1], frames[:, 1:])).flatten(0, 1)
        aligned = self(neighbour, flow_warp(neighbour, flow), current, flow)
        return aligned.view(2, B, T - 1, C, H, W).permute(0, 1, 2, 4, 5, 3)

    def is_still(self, flow: Tensor) -> bool:
        """Whether every offset is zero and no training is about to change that: flow is frozen as it was initialised.

        Asked on the CPU alone: elsewhere the host would wait for the answer.
        """
        if not (runs_on_cpu(flow) and runs_plainly(flow)):
            return False
        trained = flow.requires_grad or any(p.requires_grad for p in self.conv_offset.parameters())
        if trained and torch.is_grad_enabled():
            return False
        return not any(bool(x.any()) for x in (flow, *self.conv_offset[-1].parameters()))

    def neighbours_in_place(self, x: Tensor) -> Tensor:
        """`neighbours` where nothing moves: then every mask is sigmoid(0), and a plain convolution remains."""
        frames = torch.stack((x[:, 1:], x[:, :-1]))  # (2,B,T-1,H,W,C)
        aligned = F.conv2d(frames.flatten(0, 2).permute(0, 3, 1, 2), STILL_MASK * self.weight, self.bias, padding=1)
        return aligned.permute(0, 2, 3, 1).unflatten(0, frames.shape[:3])

    def predicted_by_tap(self, pairs: Tensor) -> Tensor:
        """Offsets and masks (N,H,W,27G) before tanh and sigmoid, tap by tap, for pairs (N,H,W,2C+2)."""
        last: Any = self.conv_offset[-1]
        hidden = self.conv_offset[:-1](pairs.permute(0, 3, 1, 2))  # Channels last in memory, as convolutions keep it.
        # The published rows go group by group; the kernels read a tap of all groups at once.
        predicted = F.conv2d(hidden, last.weight[self.order], last.bias[self.order], padding=1)
        return predicted.permute(0, 2, 3, 1)

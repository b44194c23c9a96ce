"""Parallel warping: neighbours aligned by flow-guided modulated deformable convolution.

B clips, T frames, C channels, H x W pixels, G deformable groups, N = 2 B (T-1) pairs (both directions).
"""

import math

import torch
from torch import Tensor, nn

from spikevrt_kernels.core.precision import at_least_fp32
from spikevrt_kernels.deform_conv import deform_conv
from spikevrt_kernels.flow_warp import flow_warp

TAPS = 9


class DCNv2PackFlowGuided(nn.Module):
    """Deformable 3x3 convolution with offsets of at most `max_residue` pixels around an optical flow."""

    def __init__(self, channels: int, deformable_groups: int, max_residue: float) -> None:
        super().__init__()
        self.groups = deformable_groups
        self.max_residue = max_residue
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.conv_offset = nn.Sequential(
            nn.Conv2d(2 * channels + 2, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
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
        predicted = self.conv_offset(torch.cat((warped, current, flow.to(warped.dtype)), 1))
        residue, logits = predicted.split((2 * TAPS * self.groups, TAPS * self.groups), 1)
        toward = flow.flip(1).repeat(1, TAPS * self.groups, 1, 1)  # (dy, dx) for every group and tap
        offset = self.max_residue * at_least_fp32(residue).tanh() + toward
        return deform_conv(x, offset, at_least_fp32(logits).sigmoid(), self.weight, self.bias)


def warp_neighbours(align: DCNv2PackFlowGuided, x: Tensor, backward: Tensor, forward: Tensor) -> tuple[Tensor, Tensor]:
    """Align each frame's next and previous frame to it, all pairs in one batch.

    Args:
        align: deformable convolution of the stage.
        x: (B,T,C,H,W) features.
        backward: (B,T-1,2,H,W) flow that aligns frame t+1 to t.
        forward: (B,T-1,2,H,W) flow that aligns frame t to t+1.

    Returns:
        Two (B,T,C,H,W): the aligned frames t+1 (0 for the last frame) and t-1 (0 for the first frame).
    """
    B, T, C, H, W = x.shape
    neighbour = torch.cat((x[:, 1:], x[:, :-1])).flatten(0, 1)  # (N,C,H,W)
    current = torch.cat((x[:, :-1], x[:, 1:])).flatten(0, 1)
    flow = torch.cat((backward, forward)).flatten(0, 1)
    aligned = align(neighbour, flow_warp(neighbour, flow), current, flow)
    later, earlier = aligned.view(2, B, T - 1, C, H, W)
    missing = later.new_zeros(B, 1, C, H, W)
    return torch.cat((later, missing), 1), torch.cat((missing, earlier), 1)

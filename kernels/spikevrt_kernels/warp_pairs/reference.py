"""The input of the offset convolutions in plain PyTorch."""

import torch
from torch import Tensor

from spikevrt_kernels.flow_warp import flow_warp


def warp_pairs_reference(x: Tensor, flow: Tensor) -> Tensor:
    """Neighbour warped, frame and flow of every pair; shapes as in `warp_pairs`."""
    frames = x.permute(0, 1, 4, 2, 3)  # (B,T,C,H,W)
    neighbour = torch.cat((frames[:, 1:], frames[:, :-1])).flatten(0, 1)  # (N,C,H,W)
    current = torch.cat((frames[:, :-1], frames[:, 1:])).flatten(0, 1)
    pairs = torch.cat((flow_warp(neighbour, flow), current, flow.to(x.dtype)), 1)
    return pairs.permute(0, 2, 3, 1).contiguous()

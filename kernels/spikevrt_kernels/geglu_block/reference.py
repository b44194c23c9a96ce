"""The block and the fusion in plain PyTorch."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.core.residual_blocks import Norm, add_branch, layer_norm


class GEGLUWeights(NamedTuple):
    """The three layers of an MLP from Cin to C channels with R hidden ones; each weight, bias."""

    fc11: tuple[Tensor, Tensor]
    """The half that passes GELU: (R,Cin), (R,)."""
    fc12: tuple[Tensor, Tensor]
    """The half that is multiplied with it: (R,Cin), (R,)."""
    fc2: tuple[Tensor, Tensor]
    """(C,R), (C,)."""


def gated_gelu(a: Tensor, b: Tensor) -> Tensor:
    """gelu(a) * b."""
    return F.gelu(a) * b


def geglu_reference(
    x: Tensor,
    aligned: Tensor | None,
    norm: Norm | None,
    weights: GEGLUWeights,
    scale: Tensor | None,
    linear: Callable[..., Tensor] = F.linear,
    gated: Callable[[Tensor, Tensor], Tensor] = gated_gelu,
) -> Tensor:
    """The fusion if there are aligned frames, else the block; shapes as in `geglu_fuse` and `geglu_block`.

    `linear` and `gated` compute a layer and gelu(a) * b.
    """
    if aligned is not None:
        z = side_by_side(x, aligned)
    elif norm is not None:
        z = layer_norm(x, norm)
    else:
        z = x
    y = linear(gated(linear(z, *weights.fc11), linear(z, *weights.fc12)), *weights.fc2)
    return y if aligned is not None else add_branch(x, y, scale)


def side_by_side(x: Tensor, aligned: Tensor) -> Tensor:
    """x, later and earlier along channels: (B,T,h,w,3C); zeros where a frame has no later or earlier one."""
    none = torch.zeros_like(x[:, :1])
    return torch.cat((x, torch.cat((aligned[0], none), 1), torch.cat((none, aligned[1]), 1)), -1)

"""Every launch of attention along time on tensors without storage, to be compiled or counted rather than run."""

import torch

from spikevrt_kernels.launches import Launch
from spikevrt_kernels.temporal_attention.launch import backward_launch, forward_launch


def attention_launches(
    shape: tuple[int, int, int, int, int], dtype: torch.dtype, heads: int = 4, dropout_p: float = 0.0
) -> dict[str, Launch]:
    """The launches of forward and backward, the same on every architecture.

    Args:
        shape: (B,C,T,H,W) of q, k and v.
        dtype: of all.
    """
    x = torch.empty(shape, dtype=dtype, device="meta")
    seed = torch.empty(1, dtype=torch.int64, device="meta") if dropout_p else None
    return {
        "forward": forward_launch(x, x, x, heads, dropout_p, seed)[0],
        "backward": backward_launch(x, x, x, x, heads, dropout_p, seed)[0],
    }

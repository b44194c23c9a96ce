"""The pre-norm block along time in plain PyTorch, for one chunk of pixels."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.core.residual_blocks import layer_norm
from spikevrt_kernels.temporal_attention import temporal_attention


class BlockWeights(NamedTuple):
    """The parameters of one block of width C with an MLP of width R."""

    norm_q: tuple[Tensor, Tensor]
    """LayerNorm of the block's input: weight (C,), bias (C,)."""
    norm_kv: tuple[Tensor, Tensor] | None
    """LayerNorm of the context: weight (C,), bias (C,); None in self-attention."""
    in_proj: tuple[Tensor, Tensor]
    """Projections to q, k and v: weight (3C,C), bias (3C,), as `torch.nn.MultiheadAttention` stores them."""
    out_proj: tuple[Tensor, Tensor]
    """Output projection of the attention: weight (C,C), bias (C,)."""
    norm_mlp: tuple[Tensor, Tensor]
    """LayerNorm before the MLP: weight (C,), bias (C,)."""
    mlp_in: tuple[Tensor, Tensor]
    """First layer of the MLP: weight (R,C), bias (R,)."""
    mlp_out: tuple[Tensor, Tensor]
    """Second layer of the MLP: weight (C,R), bias (C,)."""


def temporal_block_reference(
    x: Tensor, context: Tensor | None, weights: BlockWeights, heads: int, dropout_p: float, attention: str = "naive"
) -> Tensor:
    """y = x + MHA(LN x, LN context); y + MLP(LN y), all along T; shapes as in `temporal_block`.

    `attention` names the backend of the attention inside the block.
    """
    C = x.shape[1]
    x = x.permute(0, 3, 4, 2, 1).contiguous()  # (B,H,W,T,C)
    normed = layer_norm(x, weights.norm_q)
    if context is None:
        q, k, v = F.linear(normed, *weights.in_proj).split(C, -1)
    else:
        assert weights.norm_kv is not None
        w, b = weights.in_proj
        q = F.linear(normed, w[:C], b[:C])
        keys = layer_norm(context.permute(0, 3, 4, 2, 1), weights.norm_kv)
        k, v = F.linear(keys, w[C:], b[C:]).split(C, -1)
    q, k, v = (t.permute(0, 4, 3, 1, 2) for t in (q, k, v))  # (B,C,T,H,W) views
    attended = temporal_attention(q, k, v, heads, dropout_p, attention).permute(0, 3, 4, 2, 1)
    y = x + F.linear(attended, *weights.out_proj)
    hidden = F.gelu(F.linear(layer_norm(y, weights.norm_mlp), *weights.mlp_in))
    return (y + F.linear(hidden, *weights.mlp_out)).permute(0, 4, 3, 1, 2)  # (B,C,T,H,W)

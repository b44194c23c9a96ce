"""Self-attention along time on the spike features of every scale.

B clips, T steps of time, C channels, H x W pixels of a scale.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from spikevrt.models.start import start_small
from spikevrt.models.temporal_layers import AttentionWeights, affine, make_mlp
from spikevrt_kernels.backends import resolve_backend
from spikevrt_kernels.temporal_block import BlockWeights, Chunking, temporal_block


class TemporalSelfBlock(nn.Module):
    """x + MHA(LN x), then x + MLP(LN x), along T at every pixel."""

    def __init__(
        self,
        dim: int,
        heads: int,
        dropout: float,
        mlp_ratio: float,
        attn_backend: str,
        chunk: Chunking | None,
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.attn_backend, self.chunk = heads, dropout, attn_backend, chunk
        self.ln1 = nn.LayerNorm(dim)
        self.attn = AttentionWeights(dim)
        self.ln2 = nn.LayerNorm(dim)
        self.mlp = make_mlp(dim, mlp_ratio)
        # Scores without positions say nothing at first: attention would blend the frames into one.
        start_small(self.attn.out_proj)
        start_small(self.mlp[2])

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,T,H,W) -> (B,C,T,H,W)."""
        weights = BlockWeights(
            norm_q=affine(self.ln1),
            norm_kv=None,
            in_proj=(self.attn.in_proj_weight, self.attn.in_proj_bias),
            out_proj=affine(self.attn.out_proj),
            norm_mlp=affine(self.ln2),
            mlp_in=affine(self.mlp[0]),  # type: ignore[arg-type]
            mlp_out=affine(self.mlp[2]),  # type: ignore[arg-type]
        )
        dropout = self.dropout if self.training else 0.0
        return temporal_block(x, None, weights, self.heads, dropout, self.chunk, self.attn_backend)


class SpikeTemporalSA(nn.Module):
    """One self-attention block a scale.

    Args:
        channels_per_scale: width of every scale.
        heads: divides every width.
        dropout: on the attention probabilities, in training.
        mlp_ratio: hidden width of the MLP in widths.
        attn_backend: auto, triton, sdpa or naive.
        chunk: pixels at a time, or None = all at once.
    """

    def __init__(
        self,
        channels_per_scale: Sequence[int],
        heads: int = 4,
        dropout: float = 0.0,
        mlp_ratio: float = 2,
        attn_backend: str = "auto",
        chunk: Chunking | None = None,
    ) -> None:
        super().__init__()
        backend = resolve_backend(attn_backend)
        self.blocks = nn.ModuleList(
            TemporalSelfBlock(dim, heads, dropout, mlp_ratio, backend, chunk) for dim in channels_per_scale
        )
        self.register_load_state_dict_pre_hook(accept_old_name)

    def forward(self, spike_feats: list[Tensor]) -> list[Tensor]:
        """4 of (B,C_i,T_i,H_i,W_i) -> the same shapes."""
        return [block(x) for block, x in zip(self.blocks, spike_feats, strict=True)]


def accept_old_name(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """`sa_blocks` is the quick reference's name of `blocks`."""
    old = prefix + "sa_blocks."
    for key in [k for k in state if k.startswith(old)]:
        state[prefix + "blocks." + key.removeprefix(old)] = state.pop(key)

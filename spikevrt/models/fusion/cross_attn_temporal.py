"""Fusion: RGB features query the spike features along time, at every pixel of every scale.

B clips, T' RGB frames, T spike steps, C channels, h x w pixels of a scale.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from spikevrt.models.start import start_selective
from spikevrt.models.temporal_layers import AttentionWeights, affine, make_mlp
from spikevrt_kernels.backends import resolve_backend
from spikevrt_kernels.temporal_block import BlockWeights, Chunking, temporal_block


class CrossAttention(nn.Module):
    """Holds `attn`, as the published state names it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn = AttentionWeights(dim)


class TemporalCrossBlock(nn.Module):
    """y = Fr + MHA(q = LN Fr, k = v = LN Fs); y + FFN(LN y), along time at every pixel."""

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
        self.ln_q = nn.LayerNorm(dim)
        self.ln_kv = nn.LayerNorm(dim)
        self.attn = CrossAttention(dim)
        self.ln_ffn = nn.LayerNorm(dim)
        self.ffn = make_mlp(dim, mlp_ratio)
        start_selective(self.attn.attn.in_proj_weight)

    def forward(self, rgb_feat: Tensor, spike_feat: Tensor) -> Tensor:
        """(B,C,T',h,w) and (B,C,T,h,w) -> (B,C,T',h,w)."""
        attn = self.attn.attn
        weights = BlockWeights(
            norm_q=affine(self.ln_q),
            norm_kv=affine(self.ln_kv),
            in_proj=(attn.in_proj_weight, attn.in_proj_bias),
            out_proj=affine(attn.out_proj),
            norm_mlp=affine(self.ln_ffn),
            mlp_in=affine(self.ffn[0]),  # type: ignore[arg-type]
            mlp_out=affine(self.ffn[2]),  # type: ignore[arg-type]
        )
        dropout = self.dropout if self.training else 0.0
        return temporal_block(rgb_feat, spike_feat, weights, self.heads, dropout, self.chunk, self.attn_backend)


class MultiScaleTemporalCrossAttnFuse(nn.Module):
    """One cross-attention block a scale; arguments as `SpikeTemporalSA`."""

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
        self.fuse_blocks = nn.ModuleList(
            TemporalCrossBlock(dim, heads, dropout, mlp_ratio, backend, chunk) for dim in channels_per_scale
        )
        self.register_load_state_dict_pre_hook(accept_old_name)

    def forward(self, rgb_feat: Tensor, spike_feat: Tensor, scale_idx: int) -> Tensor:
        """Fuse one scale.

        Args:
            rgb_feat: (B,C,T',h,w).
            spike_feat: (B,C,T,h',w'); another spatial size is resized to (h,w) frame by frame.
            scale_idx: 0..3.

        Returns:
            (B,C,T',h,w).
        """
        return self.fuse_blocks[scale_idx](rgb_feat, resize_frames(spike_feat, rgb_feat.shape[-2:]))


def resize_frames(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B,C,T,h,w) -> (B,C,T,*size), bilinear with align_corners False; time is never resampled."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    B, _, T = x.shape[:3]
    frames = x.transpose(1, 2).flatten(0, 1)
    resized = F.interpolate(frames, tuple(size), mode="bilinear", align_corners=False)
    return resized.unflatten(0, (B, T)).transpose(1, 2)


def accept_old_name(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """`cross_attn_blocks` is the quick reference's name of `fuse_blocks`."""
    old = prefix + "cross_attn_blocks."
    for key in [k for k in state if k.startswith(old)]:
        state[prefix + "fuse_blocks." + key.removeprefix(old)] = state.pop(key)

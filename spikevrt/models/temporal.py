"""Attention along time: self-attention of spike features, and cross-attention from RGB to spike features."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikevrt.config import TemporalAttnConfig
from spikevrt.models.init import init_selective, init_small
from spikevrt.models.randomness import AttentionDropout
from spikevrt.models.segments import segment
from spikevrt_kernels.core.backends import resolve_backend
from spikevrt_kernels.temporal_block import BlockWeights, Chunking, temporal_block

Pair = tuple[Tensor, Tensor]


class AttentionWeights(nn.Module):
    """The parameters of `torch.nn.MultiheadAttention`, with its names and its initialisation."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)


def affine(layer: nn.Linear | nn.LayerNorm) -> Pair:
    """Weight and bias of a layer."""
    return layer.weight, layer.bias


def make_mlp(dim: int, ratio: float) -> nn.Sequential:
    """An MLP dim -> ratio * dim -> dim with exact GELU; its modules `0` and `2` hold the parameters."""
    hidden = int(dim * ratio)
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))


def gather(
    norm_q: Pair, norm_kv: Pair | None, attn: AttentionWeights, norm_mlp: Pair, mlp: nn.Sequential
) -> BlockWeights:
    """Collect a block's parameters in the operator's record; `norm_kv` None = self-attention."""
    return BlockWeights(
        norm_q=norm_q,
        norm_kv=norm_kv,
        in_proj=(attn.in_proj_weight, attn.in_proj_bias),
        out_proj=affine(attn.out_proj),
        norm_mlp=norm_mlp,
        mlp_in=affine(mlp[0]),  # type: ignore[arg-type]
        mlp_out=affine(mlp[2]),  # type: ignore[arg-type]
    )


def chunking(section: TemporalAttnConfig) -> Chunking | None:
    """The chunks of a section, or None if its ADAPTIVE_CHUNK is false."""
    if not section.adaptive_chunk:
        return None
    return Chunking(section.max_batch_tokens, section.chunk_size, section.chunk_shape)


@dataclass(frozen=True)
class TimeSettings:
    """Settings of all blocks along time of one kind; the fields are also the keyword arguments of their modules."""

    heads: int = 4
    """Number of heads; must divide every width."""
    dropout: float = 0.0
    """Dropout probability of the attention probabilities, in training only."""
    mlp_ratio: float = 2
    """Hidden width of the MLP, as a multiple of the width."""
    attn_backend: str = "auto"
    """auto, triton, sdpa or naive."""
    chunk: Chunking | None = None
    """Pixels that are computed together; None = all at once."""

    @classmethod
    def of(cls, section: TemporalAttnConfig, attn_backend: str) -> Self:
        """The settings of MODEL.SPIKE_TSA or MODEL.FUSE."""
        return cls(section.heads, section.dropout, section.mlp_ratio, attn_backend, chunking(section))


class TemporalBlock(nn.Module):
    """Pre-norm attention along T at every pixel, then an MLP, each with a residual connection."""

    def __init__(self, settings: TimeSettings) -> None:
        super().__init__()
        self.settings = settings
        self.dropout = AttentionDropout(settings.dropout)

    def block_weights(self) -> BlockWeights:
        """The parameters in the form that the operator takes."""
        raise NotImplementedError

    def run(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Apply the block to features (B,C,T,H,W) and a context (B,C,T',H,W), None = the features -> (B,C,T,H,W)."""
        return self.dropout(self._block, x, context)

    def _block(self, x: Tensor, context: Tensor | None, dropout: float) -> Tensor:
        own = self.settings
        return temporal_block(x, context, self.block_weights(), own.heads, dropout, own.chunk, own.attn_backend)


class TemporalSelfBlock(TemporalBlock):
    """x + MHA(LN x), then x + MLP(LN x), along T at every pixel."""

    def __init__(self, dim: int, settings: TimeSettings) -> None:
        super().__init__(settings)
        self.ln1 = nn.LayerNorm(dim)
        self.attn = AttentionWeights(dim)
        self.ln2 = nn.LayerNorm(dim)
        self.mlp = make_mlp(dim, settings.mlp_ratio)
        # Without positional encoding, untrained attention is uniform and would average the frames.
        init_small(self.attn.out_proj)
        init_small(self.mlp[2])

    def block_weights(self) -> BlockWeights:
        """The parameters; queries, keys and values come from the same normalised features."""
        return gather(affine(self.ln1), None, self.attn, affine(self.ln2), self.mlp)

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,T,H,W) -> (B,C,T,H,W)."""
        return self.run(x, None)


class SpikeTemporalSA(nn.Module):
    """One self-attention block per scale.

    Args:
        channels_per_scale: width of every scale.
        heads: as in `TimeSettings`.
        dropout: as in `TimeSettings`.
        mlp_ratio: as in `TimeSettings`.
        attn_backend: as in `TimeSettings`.
        chunk: as in `TimeSettings`.

    Raises:
        BackendError: the backend cannot run on this machine.
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
        settings = TimeSettings(heads, dropout, mlp_ratio, resolve_backend(attn_backend), chunk)
        self.blocks = nn.ModuleList(TemporalSelfBlock(dim, settings) for dim in channels_per_scale)
        self.register_load_state_dict_pre_hook(partial(accept_old_name, "sa_blocks", "blocks"))

    def forward(self, spike_feats: list[Tensor]) -> list[Tensor]:
        """Features at 4 scales, (B,C_i,T_i,H_i,W_i) -> the same shapes."""
        pairs = zip(self.blocks, spike_feats, strict=True)
        return [segment("spike attention", [block], block, x) for block, x in pairs]


class CrossAttention(nn.Module):
    """Holds the weights as `attn`, so that the state has the published names."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn = AttentionWeights(dim)


class TemporalCrossBlock(TemporalBlock):
    """y = Fr + MHA(q = LN Fr, k = v = LN Fs); y + FFN(LN y), along time at every pixel."""

    def __init__(self, dim: int, settings: TimeSettings) -> None:
        super().__init__(settings)
        self.ln_q = nn.LayerNorm(dim)
        self.ln_kv = nn.LayerNorm(dim)
        self.attn = CrossAttention(dim)
        self.ln_ffn = nn.LayerNorm(dim)
        self.ffn = make_mlp(dim, settings.mlp_ratio)
        init_selective(self.attn.attn.in_proj_weight)

    def block_weights(self) -> BlockWeights:
        """The parameters; queries come from the RGB features, keys and values from the spike features."""
        return gather(affine(self.ln_q), affine(self.ln_kv), self.attn.attn, affine(self.ln_ffn), self.ffn)

    def forward(self, rgb_feat: Tensor, spike_feat: Tensor) -> Tensor:
        """Attend from RGB features (B,C,T',h,w) to spike features (B,C,T,h,w) -> (B,C,T',h,w)."""
        return self.run(rgb_feat, spike_feat)


class MultiScaleTemporalCrossAttnFuse(nn.Module):
    """One cross-attention block per scale; arguments and errors as in `SpikeTemporalSA`."""

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
        settings = TimeSettings(heads, dropout, mlp_ratio, resolve_backend(attn_backend), chunk)
        self.fuse_blocks = nn.ModuleList(TemporalCrossBlock(dim, settings) for dim in channels_per_scale)
        self.register_load_state_dict_pre_hook(partial(accept_old_name, "cross_attn_blocks", "fuse_blocks"))

    def forward(self, rgb_feat: Tensor, spike_feat: Tensor, scale_idx: int) -> Tensor:
        """Fuse spike features into RGB features at one scale.

        Args:
            rgb_feat: (B,C,T',h,w).
            spike_feat: (B,C,T,h',w'); resized frame by frame if (h',w') is not (h,w).
            scale_idx: 0..3.

        Returns:
            (B,C,T',h,w).
        """
        return self.fuse_blocks[scale_idx](rgb_feat, resize_frames(spike_feat, rgb_feat.shape[-2:]))


def resize_frames(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B,C,T,h,w) to (B,C,T,*size), bilinear with align_corners False; the frames stay as they are."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    B, _, T = x.shape[:3]
    frames = x.transpose(1, 2).flatten(0, 1)
    resized = F.interpolate(frames, tuple(size), mode="bilinear", align_corners=False)
    return resized.unflatten(0, (B, T)).transpose(1, 2)


def accept_old_name(old: str, new: str, module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Before loading: rename the entries of a module that other implementations call `old` to `new`."""
    for key in [k for k in state if k.startswith(f"{prefix}{old}.")]:
        state[f"{prefix}{new}." + key.removeprefix(f"{prefix}{old}.")] = state.pop(key)

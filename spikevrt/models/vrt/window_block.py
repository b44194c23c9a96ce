"""VRT's window attention module, its transformer block, and groups of blocks.

B clips, D frames, H x W pixels, C channels, channels last; windows of d x h x w tokens, N = d*h*w, n = h*w.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from spikevrt.models.checkpoint import keep_own_buffers
from spikevrt.models.randomness import DropPath
from spikevrt.models.segments import again, recomputed, segment
from spikevrt_kernels.core.names import Backends
from spikevrt_kernels.geglu_block import GEGLUWeights, geglu_block
from spikevrt_kernels.geglu_block.sdpa import GatedGELU
from spikevrt_kernels.linear import Linear, linear
from spikevrt_kernels.linear_residual import linear_residual
from spikevrt_kernels.norm_linear import norm_linear
from spikevrt_kernels.window_attention import (
    KeptBias,
    RelativeBias,
    effective_window,
    relative_position_index,
    window_attention,
)

Size3 = tuple[int, int, int]
PAIR = 2
"""Blocks of a segment: with more, what is computed again at a time grows; with fewer, what is kept between them."""


def sine_position_bias(height: int, width: int, channels: int) -> Tensor:
    """(1,height*width,channels) float32 sine encoding of positions in a frame; y is in the first half."""
    half = channels // 2
    i = torch.arange(half, dtype=torch.float32)
    frequency = 10000 ** (2 * torch.div(i, 2, rounding_mode="floor") / half)
    parts = []
    for length, shape in ((height, (height, 1)), (width, (1, width))):
        angle = (torch.arange(length, dtype=torch.float32) + 1) / (length + 1e-6) * (2 * math.pi)
        phase = angle[:, None] / frequency
        code = torch.where(i % 2 == 0, phase.sin(), phase.cos())
        parts.append(code.view(*shape, half).expand(height, width, half))
    return torch.cat(parts, -1).view(1, height * width, channels)


class WindowAttention(nn.Module):
    """Self-attention in windows, optionally with mutual attention between the two frames of a window."""

    relative_position_index: Tensor
    position_bias: Tensor

    def __init__(
        self,
        dim: int,
        window: Size3,
        heads: int,
        mutual: bool,
        qkv_bias: bool = True,
        attn_backend: str = "auto",
    ) -> None:
        super().__init__()
        self.window = window
        self.heads = heads
        self.mutual = mutual
        self.attn_backend = attn_backend
        rows = math.prod(2 * s - 1 for s in window)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, heads))
        # The published state contains it; the operator computes it from the window.
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.kept_bias = KeptBias()
        self.qkv_self = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(2 * dim if mutual else dim, dim)
        if mutual:
            self.register_buffer("position_bias", sine_position_bias(window[1], window[2], dim))
            self.qkv_mut = Linear(dim, 3 * dim, bias=qkv_bias)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_load_state_dict_pre_hook(keep_own_buffers)

    def forward(self, x: Tensor, window: Size3, shift: Size3) -> Tensor:
        """Attend in windows: (B,D,H,W,C) -> (B,D,H,W,C); `window` and `shift` as `effective_window` returns them."""
        return self.proj(self.attend(linear(x, self.projection()), window, shift))

    def attend(self, qkv: Tensor, window: Size3, shift: Size3, added: bool = False) -> Tensor:
        """Attend in windows, between both projections; a block fuses these with what is around them.

        Args:
            qkv: (B,D,H,W,3C), or (B,D,H,W,6C) with mutual attention: x times `projection()`.
            window: as `effective_window` returns it.
            shift: the same.
            added: whether qkv holds `early_bias()`.

        Returns:
            (B,D,H,W,C), or (B,D,H,W,2C) with mutual attention, for the output projection `proj`.
        """
        return window_attention(
            qkv,
            self.offset(),
            RelativeBias(self.relative_position_bias_table, self.window, self.kept_bias),
            self.heads,
            window,
            shift,
            # W (x + P) + b = W x + (W P + b): both projections are one product, and P becomes an offset.
            self.qkv_mut(self.position_bias[0]) if self.mutual else None,
            self.attn_backend,
            added,
        )

    def early_bias(self) -> Tensor | None:
        """Bias (3C,) that the projection adds, so that the kernels have nothing to add to keys and values.

        None where attention adds it: the mutual one differs from place to place, and other backends add it anyway.
        """
        return None if self.mutual or self.attn_backend != "triton" else self.qkv_self.bias

    def projection(self) -> Tensor:
        """Weight (3C,C) of the projection to q, k, v; with mutual attention (6C,C), both projections as one."""
        weight = self.qkv_self.weight
        return torch.cat((weight, self.qkv_mut.weight)) if self.mutual else weight

    def offset(self) -> Tensor:
        """Bias (3C,) of the self-attention projection; zeros if it has none."""
        bias = self.qkv_self.bias
        return bias if bias is not None else self.qkv_self.weight.new_zeros(self.qkv_self.out_features)


class GEGLU(nn.Module):
    """fc2(gelu(fc11 x) * fc12 x) (Shazeer 2020)."""

    def __init__(self, dim: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc11 = Linear(dim, hidden)
        self.fc12 = Linear(dim, hidden)
        self.fc2 = Linear(hidden, out or dim)

    def forward(self, x: Tensor) -> Tensor:
        """(...,dim) -> (...,out)."""
        return self.fc2(GatedGELU.apply(self.fc11(x), self.fc12(x)))

    def weights(self) -> GEGLUWeights:
        """The parameters as the fused operators take them, which are called with them instead of this module."""
        return GEGLUWeights(*((layer.weight, layer.bias) for layer in (self.fc11, self.fc12, self.fc2)))


@dataclass(frozen=True)
class BlockSettings:
    """Settings that all blocks of a group share."""

    heads: int
    mlp_ratio: float = 2.0
    """Hidden width of the MLP, as a multiple of the width."""
    qkv_bias: bool = True
    checkpoint_attn: bool = False
    """Whether attention is recomputed in the backward pass instead of kept."""
    checkpoint_ffn: bool = False
    """Whether the MLP is recomputed in the backward pass instead of kept."""
    attn_backend: str | Backends = "auto"
    """One backend for all operators, or one for each."""

    @property
    def backends(self) -> Backends:
        """The backend of each operator."""
        return Backends.of(self.attn_backend)


class WindowBlock(nn.Module):
    """x + s attention(LN x), then x + s GEGLU(LN x), where drop path gives the scale s of each sample."""

    def __init__(
        self, dim: int, window: Size3, shift: Size3, mutual: bool, settings: BlockSettings, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.backends = backends = settings.backends
        self.checkpoint_attn = settings.checkpoint_attn
        # How the backward pass gets its intermediates in a segment; see `segments.compute`.
        self.project_again = self.alone = False
        # The kernels keep x alone: nothing would be saved by computing them again.
        self.checkpoint_ffn = settings.checkpoint_ffn and backends.geglu_block != "triton"
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window, settings.heads, mutual, settings.qkv_bias, backends.window_attention)
        self.drop_attn = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = GEGLU(dim, int(dim * settings.mlp_ratio))
        self.drop_mlp = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B,D,H,W,C) -> (B,D,H,W,C)."""
        return again(self._both, x) if self.alone else self._both(x)

    def _both(self, x: Tensor) -> Tensor:
        x = again(self._attend, x) if self.checkpoint_attn else self._attend(x)
        return again(self._feed_forward, x) if self.checkpoint_ffn else self._feed_forward(x)

    def _attend(self, x: Tensor) -> Tensor:
        _, D, H, W, _ = x.shape
        window, shift = effective_window((D, H, W), self.window, self.shift)
        bias = self.attn.early_bias()
        norm, weight, backend = affine(self.norm1), self.attn.projection(), self.backends.norm_linear

        def project(x: Tensor) -> Tensor:
            return norm_linear(x, norm, weight, bias, backend)

        qkv, proj = project(x), self.attn.proj
        with recomputed(qkv, project, x) if self.project_again else nullcontext():
            attended = self.attn.attend(qkv, window, shift, bias is not None)
        scale = self.drop_attn(x)
        return linear_residual(x, attended, proj.weight, proj.bias, scale, self.backends.linear_residual)

    def _feed_forward(self, x: Tensor) -> Tensor:
        scale = self.drop_mlp(x)
        return geglu_block(x, affine(self.norm2), self.mlp.weights(), scale, self.backends.geglu_block)


def affine(norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of a norm."""
    return norm.weight, norm.bias


class TMSAG(nn.Module):
    """Temporal mutual self-attention group: a sequence of blocks; every second one shifts its windows.

    `drop_path` holds the rate of every block.
    """

    def __init__(
        self, dim: int, drop_path: Sequence[float], window: Size3, mutual: bool, settings: BlockSettings
    ) -> None:
        super().__init__()
        half = (window[0] // 2, window[1] // 2, window[2] // 2)
        self.blocks = nn.ModuleList(
            WindowBlock(dim, window, half if j % 2 else (0, 0, 0), mutual, settings, rate)
            for j, rate in enumerate(drop_path)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B,D,H,W,C) -> (B,D,H,W,C)."""
        return in_turn(self.blocks, x)

    def with_linear(self, x: Tensor, layer: nn.Linear, backends: Backends) -> Tensor:
        """x + layer(self(x)), in segments of two blocks; the last one holds the layer."""
        start, blocks = x, list(self.blocks)
        last = max(0, len(blocks) - 1) // PAIR * PAIR
        for first in range(0, last, PAIR):
            pair = blocks[first : first + PAIR]
            x = segment("blocks", pair, partial(in_turn, pair), x)

        def last_blocks(x: Tensor, start: Tensor) -> Tensor:
            x = in_turn(blocks[last:], x)
            return linear_residual(start, x, layer.weight, layer.bias, None, backends.linear_residual)

        return segment("blocks and linear", [*blocks[last:], layer], last_blocks, x, start)


def in_turn(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Apply blocks one after another."""
    for block in blocks:
        x = block(x)
    return x

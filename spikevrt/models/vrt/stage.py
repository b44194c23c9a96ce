"""VRT's stages 1-7 (reshape, two attention groups, parallel warping, fusion) and the groups of stage 8.

B clips, T frames, C channels; features are (B,C,T,h,w), channels last in memory.
"""

from collections.abc import Sequence
from typing import Any

import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from spikevrt.config.limits import Place
from spikevrt.models.segments import segment
from spikevrt.models.vrt.parallel_warping import DCNv2PackFlowGuided
from spikevrt.models.vrt.window_block import GEGLU, TMSAG, BlockSettings, Size3, affine
from spikevrt_kernels.core.names import Backends
from spikevrt_kernels.geglu_block import geglu_fuse
from spikevrt_kernels.linear import Linear
from spikevrt_kernels.norm_linear import norm_linear

MUTUAL_FRAMES = 2
"""Number of frames that attend each other in mutual attention."""
MAX_RESIDUE = 10


class Reshape(nn.Sequential):
    """Layers of rearranged features: tokens, norm, linear layer or none, and back; the last two as one operator."""

    def __init__(self, *layers: nn.Module, backends: Backends) -> None:
        super().__init__(*layers)
        self.backends = backends

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,T,h,w) -> (B,C',T,h',w')."""
        parts: list[Any] = list(self)
        gather, norm, *linear, back = parts
        if not linear:
            return back(in_half(norm(gather(x))))
        weights = linear[0].weight, linear[0].bias
        return back(norm_linear(gather(x), affine(norm), *weights, self.backends.norm_linear))


def make_reshape(kind: str, in_dim: int, dim: int, backend: str | Backends = "auto") -> Reshape:
    """The layer before a stage: `none`, `down` (2x2 pixels -> channels, 4C -> C') or `up` (the reverse, C/4 -> C')."""
    back, backends = Rearrange("n d h w c -> n c d h w"), Backends.of(backend)
    if kind == "none":
        return Reshape(Rearrange("n c d h w -> n d h w c"), nn.LayerNorm(dim), back, backends=backends)
    if kind == "down":
        gather = Rearrange("n c d (h neih) (w neiw) -> n d h w (neiw neih c)", neih=2, neiw=2)
        return Reshape(gather, nn.LayerNorm(4 * in_dim), Linear(4 * in_dim, dim), back, backends=backends)
    spread = Rearrange("n (neiw neih c) d h w -> n d (h neih) (w neiw) c", neih=2, neiw=2)
    return Reshape(spread, nn.LayerNorm(in_dim // 4), Linear(in_dim // 4, dim), back, backends=backends)


class Stage(nn.Module):
    """One stage of the encoder-decoder.

    `drop_path` holds the rate of every block; the first share `mul_attn_ratio` of the blocks has mutual attention.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        drop_path: Sequence[float],
        window: Size3,
        place: Place,
        settings: BlockSettings,
        deformable_groups: int,
        mul_attn_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        mutual = int(len(drop_path) * mul_attn_ratio)
        # Both groups use the stage's drop-path rates from the first one on, as published.
        first, second = drop_path[:mutual], drop_path[: len(drop_path) - mutual]
        self.reshape = make_reshape(place.reshape, in_dim, dim, settings.backends)
        self.residual_group1 = TMSAG(dim, first, (MUTUAL_FRAMES, *window[1:]), True, settings)
        self.linear1 = Linear(dim, dim)
        self.residual_group2 = TMSAG(dim, second, window, False, settings)
        self.linear2 = Linear(dim, dim)
        self.backends = settings.backends
        self.pa_deform = DCNv2PackFlowGuided(
            dim, deformable_groups, MAX_RESIDUE / place.scale, self.backends.deform_conv, self.backends.warp_pairs
        )
        self.pa_fuse = GEGLU(3 * dim, 3 * dim, dim)

    def forward(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """x (B,C,T,h,w) of the stage before -> (B,C',T,h',w'); flows (B,T-1,2,h',w') of this scale."""
        x = segment("reshape", [self.reshape], self.reshape, x).permute(0, 2, 3, 4, 1)  # (B,T,h,w,C)
        x = self.residual_group1.with_linear(x, self.linear1, self.backends)
        x = self.residual_group2.with_linear(x, self.linear2, self.backends)
        fused = segment("alignment", [self.pa_deform, self.pa_fuse], self._with_neighbours, x, backward, forward)
        return fused.permute(0, 4, 1, 2, 3)

    def _with_neighbours(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """Fuse frames (B,T,h,w,C) with their neighbours, aligned to them."""
        aligned = self.pa_deform.neighbours(x, backward, forward)  # (2,B,T-1,h,w,C)
        return geglu_fuse(x, aligned, self.pa_fuse.weights(), self.backends.geglu_block)


class RTMSA(nn.Module):
    """A group of stage 8: x + Linear(TMSAG(x)), self-attention only."""

    def __init__(self, dim: int, drop_path: Sequence[float], window: Size3, settings: BlockSettings) -> None:
        super().__init__()
        self.residual_group = TMSAG(dim, drop_path, window, False, settings)
        self.linear = Linear(dim, dim)
        self.backends = settings.backends

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,T,h,w) -> (B,C,T,h,w)."""
        x = x.permute(0, 2, 3, 4, 1)
        return self.residual_group.with_linear(x, self.linear, self.backends).permute(0, 4, 1, 2, 3)


def in_half(x: Tensor) -> Tensor:
    """x in autocast's type: CUDA's layer norm gives float32, which the stream between the blocks does not need."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x

"""VRT's stages 1-7 (reshape, two attention groups, parallel warping, fusion) and the groups of stage 8.

B clips, T frames, C channels; features are (B,C,T,h,w), channels last in memory.
"""

from collections.abc import Sequence

import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from spikevrt.config.limits import Place
from spikevrt.models.vrt.parallel_warping import DCNv2PackFlowGuided, warp_neighbours
from spikevrt.models.vrt.window_block import GEGLU, TMSAG, BlockSettings, Size3
from spikevrt_kernels.linear import Linear

MUTUAL_FRAMES = 2
"""Number of frames that attend each other in mutual attention."""
MAX_RESIDUE = 10


def make_reshape(kind: str, in_dim: int, dim: int) -> nn.Sequential:
    """The layer before a stage: `none`, `down` (2x2 pixels -> channels, 4C -> C') or `up` (the reverse, C/4 -> C')."""
    back = Rearrange("n d h w c -> n c d h w")
    if kind == "none":
        return nn.Sequential(Rearrange("n c d h w -> n d h w c"), nn.LayerNorm(dim), back)
    if kind == "down":
        gather = Rearrange("n c d (h neih) (w neiw) -> n d h w (neiw neih c)", neih=2, neiw=2)
        return nn.Sequential(gather, nn.LayerNorm(4 * in_dim), Linear(4 * in_dim, dim), back)
    spread = Rearrange("n (neiw neih c) d h w -> n d (h neih) (w neiw) c", neih=2, neiw=2)
    return nn.Sequential(spread, nn.LayerNorm(in_dim // 4), Linear(in_dim // 4, dim), back)


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
        self.reshape = make_reshape(place.reshape, in_dim, dim)
        self.residual_group1 = TMSAG(dim, first, (MUTUAL_FRAMES, *window[1:]), True, settings)
        self.linear1 = Linear(dim, dim)
        self.residual_group2 = TMSAG(dim, second, window, False, settings)
        self.linear2 = Linear(dim, dim)
        self.pa_deform = DCNv2PackFlowGuided(dim, deformable_groups, MAX_RESIDUE / place.scale)
        self.pa_fuse = GEGLU(3 * dim, 3 * dim, dim)

    def forward(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """x (B,C,T,h,w) of the stage before -> (B,C',T,h',w'); flows (B,T-1,2,h',w') of this scale."""
        x = self.reshape(x).permute(0, 2, 3, 4, 1)  # (B,T,h,w,C)
        x = x + self.linear1(self.residual_group1(x))
        x = x + self.linear2(self.residual_group2(x))
        frames = x.permute(0, 1, 4, 2, 3)  # (B,T,C,h,w)
        later, earlier = warp_neighbours(self.pa_deform, frames, backward, forward)
        return self.pa_fuse(torch.cat((frames, later, earlier), 2).permute(0, 1, 3, 4, 2)).permute(0, 4, 1, 2, 3)


class RTMSA(nn.Module):
    """A group of stage 8: x + Linear(TMSAG(x)), self-attention only."""

    def __init__(self, dim: int, drop_path: Sequence[float], window: Size3, settings: BlockSettings) -> None:
        super().__init__()
        self.residual_group = TMSAG(dim, drop_path, window, False, settings)
        self.linear = Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,T,h,w) -> (B,C,T,h,w)."""
        x = x.permute(0, 2, 3, 4, 1)
        return (x + self.linear(self.residual_group(x))).permute(0, 4, 1, 2, 3)

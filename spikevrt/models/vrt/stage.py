"""VRT's stages 1-7 (reshape, two attention groups, parallel warping, fusion) and the groups of stage 8.

B clips, T frames, C channels; features are (B,C,T,h,w), channels last in memory.
"""

from collections.abc import Sequence

import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from spikevrt.models.vrt.parallel_warping import DCNv2PackFlowGuided, warp_neighbours
from spikevrt.models.vrt.window_block import GEGLU, TMSAG, Size3
from spikevrt_kernels.linear import Linear

MUTUAL_FRAMES = 2
"""Mutual attention works on pairs of frames."""
MAX_RESIDUE = 10


def make_reshape(kind: str, in_dim: int, dim: int) -> nn.Sequential:
    """`none`, `down` (2x2 pixels into channels, 4C -> C') or `up` (channels into 2x2 pixels, C/4 -> C')."""
    back = Rearrange("n d h w c -> n c d h w")
    if kind == "none":
        return nn.Sequential(Rearrange("n c d h w -> n d h w c"), nn.LayerNorm(dim), back)
    if kind == "down":
        gather = Rearrange("n c d (h neih) (w neiw) -> n d h w (neiw neih c)", neih=2, neiw=2)
        return nn.Sequential(gather, nn.LayerNorm(4 * in_dim), Linear(4 * in_dim, dim), back)
    spread = Rearrange("n (neiw neih c) d h w -> n d (h neih) (w neiw) c", neih=2, neiw=2)
    return nn.Sequential(spread, nn.LayerNorm(in_dim // 4), Linear(in_dim // 4, dim), back)


class Stage(nn.Module):
    """One scale of the encoder-decoder; `scale` is the downsampling factor (1, 2, 4, 8)."""

    def __init__(
        self,
        in_dim: int,
        dim: int,
        depth: int,
        heads: int,
        window: Size3,
        reshape: str,
        scale: int,
        deformable_groups: int,
        mul_attn_ratio: float = 0.75,
        mlp_ratio: float = 2.0,
        qkv_bias: bool = True,
        drop_path: Sequence[float] = (),
        checkpoint_attn: bool = False,
        checkpoint_ffn: bool = False,
        attn_backend: str = "auto",
    ) -> None:
        super().__init__()
        first = int(depth * mul_attn_ratio)

        def group(blocks: int, window: Size3, mutual: bool) -> TMSAG:
            # Both groups start at the stage's first drop-path rate, as published.
            return TMSAG(
                dim,
                blocks,
                heads,
                window,
                mutual,
                mlp_ratio,
                qkv_bias,
                list(drop_path)[:blocks],
                checkpoint_attn,
                checkpoint_ffn,
                attn_backend,
            )

        self.reshape = make_reshape(reshape, in_dim, dim)
        self.residual_group1 = group(first, (MUTUAL_FRAMES, *window[1:]), mutual=True)
        self.linear1 = Linear(dim, dim)
        self.residual_group2 = group(depth - first, window, mutual=False)
        self.linear2 = Linear(dim, dim)
        self.pa_deform = DCNv2PackFlowGuided(dim, deformable_groups, MAX_RESIDUE / scale)
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

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        window: Size3,
        mlp_ratio: float = 2.0,
        qkv_bias: bool = True,
        drop_path: Sequence[float] = (),
        checkpoint_attn: bool = False,
        checkpoint_ffn: bool = False,
        attn_backend: str = "auto",
    ) -> None:
        super().__init__()
        self.residual_group = TMSAG(
            dim,
            depth,
            heads,
            window,
            False,
            mlp_ratio,
            qkv_bias,
            drop_path,
            checkpoint_attn,
            checkpoint_ffn,
            attn_backend,
        )
        self.linear = Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,T,h,w) -> (B,C,T,h,w)."""
        x = x.permute(0, 2, 3, 4, 1)
        return (x + self.linear(self.residual_group(x))).permute(0, 4, 1, 2, 3)

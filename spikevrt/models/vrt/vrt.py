"""VRT, a video restoration transformer (Liang et al. 2022), for deblurring.

B clips, T frames, H x W pixels. All stages keep T; stages 1-7 work at 1, 1/2, 1/4, 1/8, 1/4, 1/2, 1 of the resolution.
"""

from collections.abc import Callable, Sequence

import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from spikevrt.config.limits import ENCODER_STAGES, LEAST_PIXELS, MULTIPLE, PLACES, WINDOWS_PER_SIDE, least_side
from spikevrt.errors import UserError
from spikevrt.models.checkpoint import load_weights, unwrap_params
from spikevrt.models.init import init_small
from spikevrt.models.segments import segment
from spikevrt.models.vrt.spynet import SpyNet
from spikevrt.models.vrt.stage import RTMSA, Reshape, Stage
from spikevrt.models.vrt.window_block import BlockSettings, affine
from spikevrt_kernels.core.names import Backends
from spikevrt_kernels.flow_warp import flow_warp
from spikevrt_kernels.linear import Linear
from spikevrt_kernels.norm_linear import norm_linear

EncoderHook = Callable[[Tensor, int], Tensor]
"""hook(x (B,C,T,h,w), scale_idx 0..3) -> the same shape: called after each encoder stage."""
Flows = tuple[list[Tensor], list[Tensor]]
"""Optical flow t+1 to t (backward), and t to t+1: for each of 4 scales s (B,T-1,2,H/2^s,W/2^s), in pixels of it."""


class VRT(nn.Module):
    """VRT with the constructor and the state of the published implementation.

    Args:
        upscale: must be 1 (deblurring); the published default 4, super-resolution, is not supported.
        in_chans: must be 3.
        out_chans: must be 3.
        img_size: ignored, for compatibility; any size works.
        window_size: (T,h,w) of self-attention; mutual attention uses (2,h,w).
        depths: number of blocks in stages 1-7, then in every group of stage 8.
        indep_reconsts: indices into `depths` of groups that attend inside single frames.
        embed_dims: widths, as many as `depths`.
        num_heads: numbers of heads, as many as `depths`.
        mul_attn_ratio: share of a stage's blocks that have mutual attention.
        mlp_ratio: hidden width of the MLPs, as a multiple of the width.
        qkv_bias: whether the projections have a bias.
        qk_scale: must be None, which means head_width^-0.5.
        drop_path_rate: rate of the last block; the rates grow linearly from 0.
        spynet_path: a SpyNet checkpoint to load, or None.
        pa_frames: must be 2.
        deformable_groups: deformable groups of parallel warping.
        recal_all_flows: ignored, as in the published implementation.
        nonblind_denoising: must be False.
        use_checkpoint_attn: whether attention is recomputed in the backward pass.
        use_checkpoint_ffn: whether MLPs are recomputed in the backward pass.
        no_checkpoint_attn_blocks: indices into `depths` whose attention is never recomputed.
        no_checkpoint_ffn_blocks: indices into `depths` whose MLPs are never recomputed.
        attn_backend: auto, triton, sdpa or naive for all operators, or `Backends` with one for each.

    Raises:
        UserError: a variant that is not for deblurring.
    """

    def __init__(
        self,
        upscale: int = 4,
        in_chans: int = 3,
        out_chans: int = 3,
        img_size: Sequence[int] = (6, 64, 64),
        window_size: Sequence[int] = (6, 8, 8),
        depths: Sequence[int] = (8, 8, 8, 8, 8, 8, 8, 4, 4, 4, 4, 4, 4),
        indep_reconsts: Sequence[int] = (11, 12),
        embed_dims: Sequence[int] = (120,) * 7 + (180,) * 6,
        num_heads: Sequence[int] = (6,) * 13,
        mul_attn_ratio: float = 0.75,
        mlp_ratio: float = 2.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_path_rate: float = 0.2,
        spynet_path: str | None = None,
        pa_frames: int = 2,
        deformable_groups: int = 16,
        recal_all_flows: bool = False,
        nonblind_denoising: bool = False,
        use_checkpoint_attn: bool = False,
        use_checkpoint_ffn: bool = False,
        no_checkpoint_attn_blocks: Sequence[int] = (),
        no_checkpoint_ffn_blocks: Sequence[int] = (),
        attn_backend: str | Backends = "auto",
    ) -> None:
        super().__init__()
        check_variant(upscale, in_chans, out_chans, pa_frames, nonblind_denoising, qk_scale)
        check_lengths(depths, embed_dims, num_heads)
        d, h, w = window_size
        window = (d, h, w)
        self.window_size = window
        self.backends = Backends.of(attn_backend)
        rates = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist()

        def settings(i: int) -> BlockSettings:
            attn = use_checkpoint_attn and i not in no_checkpoint_attn_blocks
            ffn = use_checkpoint_ffn and i not in no_checkpoint_ffn_blocks
            return BlockSettings(num_heads[i], mlp_ratio, qkv_bias, attn, ffn, attn_backend)

        def drop_path(i: int) -> list[float]:
            start = sum(depths[:i])
            return rates[start : start + depths[i]]

        self.conv_first = nn.Conv3d(9 * in_chans, embed_dims[0], (1, 3, 3), padding=(0, 1, 1))
        self.spynet = SpyNet()
        for i, place in enumerate(PLACES):
            dims = embed_dims[i - 1], embed_dims[i]
            stage = Stage(*dims, drop_path(i), window, place, settings(i), deformable_groups, mul_attn_ratio)
            self.add_module(f"stage{i + 1}", stage)
        widen = Reshape(
            Rearrange("n c d h w -> n d h w c"),
            nn.LayerNorm(embed_dims[6]),
            Linear(embed_dims[6], embed_dims[7]),
            Rearrange("n d h w c -> n c d h w"),
            backends=self.backends,
        )
        groups = [
            RTMSA(embed_dims[i], drop_path(i), (1, h, w) if i in indep_reconsts else window, settings(i))
            for i in range(len(PLACES), len(depths))
        ]
        self.stage8 = nn.ModuleList([widen, *groups])
        self.norm = nn.LayerNorm(embed_dims[-1])
        self.conv_after_body = Linear(embed_dims[-1], embed_dims[0])
        self.conv_last = nn.Conv3d(embed_dims[0], out_chans, (1, 3, 3), padding=(0, 1, 1))
        init_small(self.conv_last)
        self.register_load_state_dict_pre_hook(unwrap_params)
        if spynet_path is not None:
            load_weights(self.spynet, spynet_path)

    def forward(self, x: Tensor, encoder_hook: EncoderHook | None = None, flows: Flows | None = None) -> Tensor:
        """Restore a clip.

        Args:
            x: (B,T,3,H,W) in [0,1]; T >= 2; H and W are multiples of 8, above 32 and at least 8 attention windows.
            encoder_hook: called after each of stages 1-4; its result replaces the stage's output.
            flows: what `flows(x)` gives, where it is known; None = it is computed.

        Returns:
            (B,T,3,H,W), not clamped.

        Raises:
            UserError: the model cannot take this size.
        """
        self.check_input(x)
        backward, forward = flows or segment("flow", [self.spynet], self.flows, x)
        first = segment("first layer", [self.conv_first], self._first, x, backward[0], forward[0])
        body = self.body(first, backward, forward, encoder_hook)
        ends = [self.norm, self.conv_after_body, self.conv_last]
        return segment("last layers", ends, self._last, body, first, x)

    def _first(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        return self.conv_first(aligned_input(x, backward, forward))

    def _last(self, body: Tensor, first: Tensor, x: Tensor) -> Tensor:
        tokens, last = body.permute(0, 2, 3, 4, 1), self.conv_after_body
        if self.backends.norm_linear == "triton":
            tokens = norm_linear(tokens, affine(self.norm), last.weight, last.bias, "triton")
        else:
            tokens = last(self.norm(tokens))
        return self.conv_last(first + tokens.permute(0, 4, 1, 2, 3)).transpose(1, 2) + x

    def flows(self, x: Tensor) -> Flows:
        """The flows between the frames of x (B,T,3,H,W), in one batch."""
        B, T = x.shape[:2]
        frame = torch.arange(B * T, device=x.device).view(B, T)
        earlier, later = frame[:, :-1].reshape(-1), frame[:, 1:].reshape(-1)
        ref, supp = torch.cat((earlier, later)), torch.cat((later, earlier))
        flows = [f.view(2, B, T - 1, *f.shape[1:]) for f in self.spynet.flows(x.flatten(0, 1), ref, supp)]
        return [f[0] for f in flows], [f[1] for f in flows]

    def body(self, x: Tensor, backward: list[Tensor], forward: list[Tensor], hook: EncoderHook | None) -> Tensor:
        """Run stages 1-8: (B,C,T,H,W) -> (B,C8,T,H,W)."""
        encoded: list[Tensor] = []
        for i, place in enumerate(PLACES):
            level = place.scale.bit_length() - 1  # Flows exist at scales 1, 1/2, 1/4, 1/8.
            x = self.get_submodule(f"stage{i + 1}")(x, backward[level], forward[level])
            if i < ENCODER_STAGES:
                x = x if hook is None else hook(x, i)
                encoded.append(x)
            # Stage 4 has no skip: stage 3's output is added to stage 5's, and so on.
            if place.skip is not None:
                x = x + encoded[place.skip]
        widen, *groups = self.stage8
        x = segment("reshape", [widen], widen, x)
        for group in groups:
            x = group(x)
        return x

    def check_input(self, x: Tensor) -> None:
        """Raise a `UserError` for a clip that the model cannot take."""
        if x.ndim != 5 or x.shape[2] != 3:
            raise UserError(f"clip of shape {tuple(x.shape)}: must be (B,T,3,H,W)")
        if x.shape[1] < 2:
            raise UserError(f"clip of T = {x.shape[1]} frames: needs at least 2; give a longer clip")
        for name, size, window in zip("HW", x.shape[-2:], self.window_size[1:], strict=True):
            if size % MULTIPLE or size < least_side(window):
                raise UserError(
                    f"clip with {name} = {size}: must be a multiple of {MULTIPLE}, above {LEAST_PIXELS - 1} and "
                    f"at least {WINDOWS_PER_SIDE * window} ({WINDOWS_PER_SIDE} windows of {window}); "
                    "pad or resize the frames"
                )


def aligned_input(x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
    """(B,T,3,H,W) and full-resolution flows (B,T-1,2,H,W) -> (B,27,T,H,W): each frame with its neighbours t+1 and t-1.

    A neighbour consists of its 4 samples nearest to where the flow points; no gradient reaches the flow.
    """
    B, T, C, H, W = x.shape
    neighbour = torch.cat((x[:, 1:], x[:, :-1])).flatten(0, 1)
    flow = torch.cat((backward, forward)).flatten(0, 1).detach()
    later, earlier = flow_warp(neighbour, flow, "nearest4").view(2, B, T - 1, 4 * C, H, W)
    missing = x.new_zeros(B, 1, 4 * C, H, W)
    later, earlier = torch.cat((later, missing), 1), torch.cat((missing, earlier), 1)
    return torch.cat((x, later, earlier), 2).transpose(1, 2)


def check_variant(
    upscale: int, in_chans: int, out_chans: int, pa_frames: int, nonblind: bool, qk_scale: float | None
) -> None:
    """Raise a `UserError` for published variants that are not for deblurring."""
    for name, value, wanted in (
        ("upscale", upscale, 1),
        ("in_chans", in_chans, 3),
        ("out_chans", out_chans, 3),
        ("pa_frames", pa_frames, 2),
        ("nonblind_denoising", nonblind, False),
        ("qk_scale", qk_scale, None),
    ):
        if value != wanted:
            raise UserError(f"VRT({name}={value}): only {name}={wanted} is offered (video deblurring)")


def check_lengths(depths: Sequence[int], embed_dims: Sequence[int], num_heads: Sequence[int]) -> None:
    """Raise a `UserError` if the three lists differ in length or have no stage 8."""
    if not len(depths) == len(embed_dims) == len(num_heads) or len(depths) < 8:
        raise UserError(
            f"VRT: depths, embed_dims and num_heads have {len(depths)}, {len(embed_dims)} and "
            f"{len(num_heads)} values; give the same number, at least 8 (7 stages, then stage 8)"
        )

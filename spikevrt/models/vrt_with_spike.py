"""VRT with a spike branch: spike features are fused after each encoder stage of the backbone.

B clips, T frames, H x W RGB pixels, K spike bins, h x w spike pixels.
"""

from collections.abc import Sequence
from functools import partial
from typing import Self

from torch import Tensor, nn

from spikevrt.errors import UserError
from spikevrt.models.checkpoint import unwrap_params
from spikevrt.models.segments import segment
from spikevrt.models.spike_encoder3d import SpikeEncoder3D
from spikevrt.models.temporal import MultiScaleTemporalCrossAttnFuse, SpikeTemporalSA
from spikevrt.models.vrt import VRT, Flows
from spikevrt_kernels.temporal_block import Chunking

DEFAULT_CHANNELS = (96, 96, 96, 96)


class VRTWithSpike(nn.Module):
    """VRT with spike encoder, self-attention of the spike features along time, and fusion.

    Args:
        vrt_backbone: the RGB backbone.
        spike_bins: K.
        channels_per_scale: widths of the backbone's stages 1-4; None = 96 each.
        temporal_strides: strides of the spike encoder along time; None = (1,1,1).
        spatial_strides: strides of the spike encoder in space; None = (2,2,2).
        tsa_heads: heads of the spike features' self-attention.
        tsa_dropout: dropout of its attention probabilities.
        tsa_mlp_ratio: hidden width of its MLP, as a multiple of the width.
        fuse_heads: heads of the fusion's cross-attention.
        fuse_dropout: dropout of its attention probabilities.
        fuse_mlp_ratio: hidden width of its MLP, as a multiple of the width.
        attn_backend: auto, triton, sdpa or naive, for spike branch and fusion.
        tsa_chunk: pixels that self-attention computes together; None = all at once.
        fuse_chunk: pixels that the fusion computes together; None = all at once.
    """

    def __init__(
        self,
        vrt_backbone: VRT,
        spike_bins: int,
        channels_per_scale: Sequence[int] | None = None,
        temporal_strides: Sequence[int] | None = None,
        spatial_strides: Sequence[int] | None = None,
        tsa_heads: int = 4,
        tsa_dropout: float = 0.0,
        tsa_mlp_ratio: float = 2,
        fuse_heads: int = 4,
        fuse_dropout: float = 0.0,
        fuse_mlp_ratio: float = 2,
        attn_backend: str = "auto",
        tsa_chunk: Chunking | None = None,
        fuse_chunk: Chunking | None = None,
    ) -> None:
        widths = tuple(channels_per_scale or DEFAULT_CHANNELS)
        self._join(
            vrt_backbone,
            SpikeEncoder3D(spike_bins, widths, temporal_strides, spatial_strides),
            SpikeTemporalSA(widths, tsa_heads, tsa_dropout, tsa_mlp_ratio, attn_backend, tsa_chunk),
            MultiScaleTemporalCrossAttnFuse(widths, fuse_heads, fuse_dropout, fuse_mlp_ratio, attn_backend, fuse_chunk),
        )

    @classmethod
    def of_parts(
        cls,
        vrt: VRT,
        encoder: SpikeEncoder3D,
        attention: SpikeTemporalSA,
        fusion: MultiScaleTemporalCrossAttnFuse,
    ) -> Self:
        """Build the model from existing parts, whose widths must agree."""
        model = cls.__new__(cls)
        model._join(vrt, encoder, attention, fusion)
        return model

    def _join(
        self,
        vrt: VRT,
        encoder: SpikeEncoder3D,
        attention: SpikeTemporalSA,
        fusion: MultiScaleTemporalCrossAttnFuse,
    ) -> None:
        nn.Module.__init__(self)
        self.spike_bins = encoder.in_proj.in_channels
        self.vrt = vrt
        self.spike_encoder = encoder
        self.spike_temporal_sa = attention
        self.cross_attn_fuse = fusion
        self.register_load_state_dict_pre_hook(unwrap_params)

    def forward(self, rgb_clip: Tensor, spike_vox: Tensor, flows: Flows | None = None) -> Tensor:
        """Restore a clip.

        Args:
            rgb_clip: (B,T,3,H,W) in [0,1]; sizes as in `VRT.forward`.
            spike_vox: (B,T,K,h,w) normalised voxels that show the same view as the frames.
            flows: as in `VRT.forward`.

        Returns:
            (B,T,3,H,W), not clamped.

        Raises:
            UserError: the model cannot take these sizes.
        """
        self.vrt.check_input(rgb_clip)
        self.check_voxels(rgb_clip, spike_vox)
        spikes = self.spike_temporal_sa(self.spike_encoder(spike_vox))

        def fuse(x: Tensor, scale_idx: int) -> Tensor:
            run = partial(self.cross_attn_fuse, scale_idx=scale_idx)
            return segment("fusion", [self.cross_attn_fuse.fuse_blocks[scale_idx]], run, x, spikes[scale_idx])

        return self.vrt(rgb_clip, fuse, flows)

    def check_voxels(self, rgb_clip: Tensor, spike_vox: Tensor) -> None:
        """Raise a `UserError` for voxels that do not belong to the clip."""
        B, K = rgb_clip.shape[0], self.spike_bins
        if spike_vox.ndim != 5 or spike_vox.shape[0] != B or spike_vox.shape[2] != K:
            raise UserError(
                f"spike voxels of shape {tuple(spike_vox.shape)}: must be ({B}, T, {K}, h, w), "
                f"B clips and DATA.K bins, beside frames of shape {tuple(rgb_clip.shape)}"
            )

"""Builds a model from a configuration."""

from torch import Tensor, nn

from spikevrt.config import Config, ModelConfig
from spikevrt.errors import one_line
from spikevrt.models.backends.choose import choose_backends
from spikevrt.models.checkpoint import LICENCE, load_weights
from spikevrt.models.spike_encoder3d import SpikeEncoder3D
from spikevrt.models.temporal import MultiScaleTemporalCrossAttnFuse, SpikeTemporalSA, TimeSettings
from spikevrt.models.vrt import VRT, Flows
from spikevrt.models.vrt_with_spike import VRTWithSpike
from spikevrt_kernels.core.names import Backends


def build_model(config: Config, pretrained: bool = True, backends: Backends | None = None) -> nn.Module:
    """Build the model of a configuration: `VRTWithSpike`, or plain `VRT` if MODEL.USE_SPIKE is false.

    Args:
        config: configuration of the model.
        pretrained: whether MODEL.VRT.PRETRAINED is loaded into the backbone.
        backends: result of `choose_backends`; None = MODEL.ATTN_BACKEND, without any trial.

    Raises:
        UserError: a backend cannot run, or the pretrained weights do not fit.
    """
    backends = backends or choose_backends(config)
    vrt = build_vrt(config.model, config.data.crop_size, backends, flags=config.train.memory_budget_gb is None)
    path = config.model.vrt.pretrained
    if path is not None and pretrained:
        load_weights(vrt, path, strict=True)
        print(one_line(f"VRT weights {path}: {LICENCE}"))
    return add_spikes(vrt, config, backends.temporal_block) if config.model.use_spike else vrt


def build_vrt(model: ModelConfig, crop_size: int, backends: Backends, flags: bool = True) -> VRT:
    """Build the RGB backbone; without `flags` the keys USE_CHECKPOINT_ATTN and USE_CHECKPOINT_FFN mean nothing."""
    vrt = model.vrt
    return VRT(
        upscale=1,
        img_size=(model.window_size[0], crop_size, crop_size),
        window_size=model.window_size,
        depths=vrt.depths,
        indep_reconsts=vrt.indep_reconsts,
        embed_dims=vrt.embed_dims,
        num_heads=vrt.num_heads,
        mlp_ratio=vrt.mlp_ratio,
        drop_path_rate=vrt.drop_path,
        deformable_groups=vrt.deform_groups,
        use_checkpoint_attn=flags and vrt.use_checkpoint_attn,
        use_checkpoint_ffn=flags and vrt.use_checkpoint_ffn,
        attn_backend=backends,
    )


def add_spikes(vrt: VRT, config: Config, attn_backend: str) -> VRTWithSpike:
    """Add spike encoder, self-attention and fusion to the backbone."""
    model = config.model
    widths, strides = model.channels_per_scale, model.spike_encoder
    return VRTWithSpike.of_parts(
        vrt,
        SpikeEncoder3D(config.data.k, widths, strides.temporal_strides, strides.spatial_strides),
        SpikeTemporalSA(widths, **vars(TimeSettings.of(model.spike_tsa, attn_backend))),
        MultiScaleTemporalCrossAttnFuse(widths, **vars(TimeSettings.of(model.fuse, attn_backend))),
    )


def run_model(model: nn.Module, rgb: Tensor, voxels: Tensor | None, flows: Flows | None = None) -> Tensor:
    """Restore rgb (B,T,3,H,W) to (B,T,3,H,W).

    Args:
        model: a plain VRT if there are no voxels.
        rgb: in [0,1].
        voxels: (B,T,K,h,w), or None.
        flows: between the frames, where they are known.
    """
    known = {} if flows is None else {"flows": flows}
    return model(rgb, **known) if voxels is None else model(rgb, voxels, **known)


def backbone(model: nn.Module) -> VRT | None:
    """The VRT of a model; None if it has none, as stand-ins in tests."""
    found = model.vrt if isinstance(model, VRTWithSpike) else model
    return found if isinstance(found, VRT) else None

"""The quick reference's figures of the model and its configuration: parameters, shapes, keys, presets."""

from collections.abc import Iterator, Sequence

import yaml
from torch import nn

from spikevrt.config import Config, preset_text
from spikevrt.config.limits import ENCODER_STAGES, MULTIPLE, least_side
from spikevrt.config.reference import parts
from spikevrt.models import VRTWithSpike
from spikevrt.models.backends.trials import spike_shapes, stage_shapes
from spikevrt.models.planning import count, elements
from spikevrt.models.spike_encoder3d import ResidualBlock3D
from spikevrt_kernels.core.backends import MAX_FRAMES

Shape = Sequence[int]
FLOAT32 = 4
"""Bytes of a value."""
IN_MILLIONS = ("residuals", "attention", "fusion", "vrt", "all")
PRESETS = ("high_quality", "low_memory", "fast")


def keys_of(config: Config) -> dict[str, str]:
    """The value of every key, as a file writes it."""
    return {key: entry.value for part in parts(config) for key, entry in zip(part.keys, part.entries, strict=True)}


def model_figures(config: Config, model: VRTWithSpike) -> dict[str, str]:
    """All figures of a configuration and its model that need no run, and the keys of the presets."""
    return {
        **parameter_figures(model),
        **shape_figures(config),
        "rows.encoder": "\n".join(encoder_rows(config, model)),
        "rows.scales": "\n".join(scale_rows(config)),
        "side.step": str(MULTIPLE),
        "side.least": str(least_side(config.model.window_size[1])),
        "frames.most": str(MAX_FRAMES),
        **{f"preset.{name}": preset_keys(name) for name in PRESETS},
    }


def parameter_figures(model: VRTWithSpike) -> dict[str, str]:
    """Parameters by module."""
    encoder = model.spike_encoder
    residuals = [block for block in encoder.modules() if isinstance(block, ResidualBlock3D)]
    counts = {
        "in_proj": count(encoder.in_proj),
        "residuals": sum(map(count, residuals)),
        "downs": count(encoder.downs),
        "encoder": count(encoder),
        "attention": count(model.spike_temporal_sa),
        "fusion": count(model.cross_attn_fuse),
        "spynet": count(model.vrt.spynet),
        "vrt": count(model.vrt),
        "all": count(model),
    }
    millions = {f"millions.{name}": f"{counts[name] / 1e6:.2f}" for name in IN_MILLIONS}
    return {f"parameters.{name}": f"{n:,}" for name, n in counts.items()} | millions


def shape_figures(config: Config) -> dict[str, str]:
    """Shapes of inputs and of the decoder's stages, and the size of one clip."""
    B, T, S, K = config.train.batch_size, config.data.clip_len, config.data.crop_size, config.data.k
    frames, voxels = (B, T, 3, S, S), (B, T, K, S, S)
    clip = (elements(frames) + elements(voxels)) // B * FLOAT32
    decoder = enumerate(stage_shapes(config, B)[ENCODER_STAGES:], ENCODER_STAGES + 1)
    return {
        "shape.frames": shape_cell(frames),
        "shape.voxels": shape_cell(voxels),
        **{f"shape.stage{stage}": shape_cell(shape) for stage, shape in decoder},
        "size.clip": f"{clip / 1e6:.0f}",
    }


def shape_cell(shape: Shape) -> str:
    """A shape in backquotes, as PyTorch prints it."""
    return f"`{tuple(shape)}`"


def encoder_rows(config: Config, model: VRTWithSpike) -> Iterator[str]:
    """The steps of the spike encoder: name, layers, shapes in and out, parameters."""
    encoder, B = model.spike_encoder, config.train.batch_size
    S = config.data.crop_size
    before: Shape = (B, config.data.k, config.data.clip_len, S, S)
    layers = [("in_proj", encoder.in_proj), *((f"downs.{i}", layer) for i, layer in enumerate(encoder.downs))]
    residuals = [("res0", encoder.res0), *((f"residuals.{i}", pair) for i, pair in enumerate(encoder.residuals))]
    for scale, (after, layer, pair) in enumerate(zip(spike_shapes(config, B), layers, residuals, strict=True), 1):
        yield encoder_row(*layer, before, f"`{tuple(after)}`")
        yield encoder_row(*pair, after, f"`{tuple(after)}` = Fs{scale}")
        before = after


def encoder_row(name: str, module: nn.Module, before: Shape, after: str) -> str:
    """One step."""
    if isinstance(module, nn.Conv3d):
        strides = ",".join(map(str, module.stride))
        what = f"Conv3d {module.in_channels} → {module.out_channels}, stride ({strides}), ReLU"
    else:
        what = f"{len(list(module.children()))} ResidualBlock3D"
    return f"| `{name}` | {what} | {shape_cell(before)} | {after} | {count(module):,} |"


def scale_rows(config: Config) -> Iterator[str]:
    """Shapes at the four scales: of VRT's encoder and the fusion, and of the spikes before and after attention."""
    B = config.train.batch_size
    pairs = zip(stage_shapes(config, B), spike_shapes(config, B), strict=False)
    for scale, (frames, spikes) in enumerate(pairs, 1):
        yield f"| {scale} | {shape_cell(frames)} | {shape_cell(spikes)} |"


def preset_keys(name: str) -> str:
    """What a preset sets, as YAML without its comments."""
    return yaml.safe_dump(yaml.safe_load(preset_text(name)), sort_keys=False, default_flow_style=None).rstrip()

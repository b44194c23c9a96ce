"""Says what weights that do not fit a model seem to be."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spikevrt.config import load_config

PUBLISHED = "vrt_gopro"
"""The preset of the published weights for deblurring."""
FIRST = "conv_first.weight"
WIDENING = "stage8.0.2.weight"
"""Leads from the width of stage 7 to that of stage 8."""
UPSAMPLING = ("conv_before_upsample", "upsample")


def likely_cause(weights: Mapping[str, Any], own: Mapping[str, Tensor]) -> str:
    """One clause, ending in `: `, about the likely cause; empty if none is known.

    Args:
        weights: weights by their current names.
        own: the model's state.
    """
    for cause in (published(weights, own), other_model(weights, own), other_key(weights, own)):
        if cause:
            return f"{cause}: "
    return ""


def published(weights: Mapping[str, Any], own: Mapping[str, Tensor]) -> str | None:
    """The presets of weights that seem to be the published ones, for a model of other widths but the same input."""
    widths = load_config(PUBLISHED).model.vrt.embed_dims
    widening = shape_of(weights, WIDENING)
    if widening != (widths[-1], widths[0]) or widening == shape_of(own, WIDENING):
        return None
    if shape_of(weights, FIRST)[1:] != shape_of(own, FIRST, f"vrt.{FIRST}")[1:]:
        return None
    if any(name.startswith(UPSAMPLING) for name in weights):
        return None
    return f"these seem to be published weights for deblurring, of the preset {PUBLISHED} (finetune_gopro with spikes)"


def shape_of(state: Mapping[str, Any], *names: str) -> tuple[int, ...]:
    """The shape of the first of some names that is there; () without one."""
    return next((tuple(state[name].shape) for name in names if isinstance(state.get(name), Tensor)), ())


def other_model(weights: Mapping[str, Any], own: Mapping[str, Tensor]) -> str | None:
    """The model that the weights seem to be of, and where to give them."""
    if FIRST in weights and f"vrt.{FIRST}" in own:
        return (
            "these are weights of a VRT without spikes, give them as MODEL.VRT.PRETRAINED or set MODEL.USE_SPIKE=false"
        )
    if f"vrt.{FIRST}" in weights and FIRST in own:
        return "these are weights of VRT+Spike, give a VRT without spikes or set MODEL.USE_SPIKE=true"
    if any(name.startswith("basic_module.") for name in weights) and FIRST not in weights:
        return None if "basic_module.0.basic_module.0.weight" in own else "these are weights of SpyNet alone"
    if any(name.startswith(UPSAMPLING) for name in weights):
        return "these are weights of a VRT for super-resolution, only those for deblurring fit"
    return None


KEY_OF = (
    (FIRST, 0, "MODEL.CHANNELS_PER_SCALE"),
    ("spike_encoder.in_proj.weight", 1, "DATA.K"),
)
"""End of a parameter's name, axis, and the key that sets the axis's size."""


def other_key(weights: Mapping[str, Any], own: Mapping[str, Tensor]) -> str | None:
    """The key that seems to differ between the weights' model and this one."""
    for name, tensor in own.items():
        there = getattr(weights.get(name), "shape", tensor.shape)
        if there == tensor.shape or len(there) != tensor.ndim:
            continue
        for end, axis, key in KEY_OF:
            if name.endswith(end) and there[axis] != tensor.shape[axis]:
                return f"{key} seems to be {there[axis]} there, {tensor.shape[axis]} here"
        if name.endswith("relative_position_bias_table") and there[1] == tensor.shape[1]:
            return "MODEL.WINDOW_SIZE seems to differ (another number of frames or pixels)"
    blocks = {name.rpartition(".attn.")[0] for name in weights} ^ {name.rpartition(".attn.")[0] for name in own}
    return "MODEL.VRT.DEPTHS seems to differ" if any("stage" in name for name in blocks) else None

"""The quick reference's figures of the code: where things are, how they are called, and what errors say."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from spikevrt.config import load_config
from spikevrt.data.clips.dataset import ClipDataset
from spikevrt.data.spikes.recording import SpikeFile
from spikevrt.errors import UserError
from spikevrt.models import VRT, VRTWithSpike, build_model
from spikevrt.models.spike_encoder3d import SpikeEncoder3D
from spikevrt.models.temporal import MultiScaleTemporalCrossAttnFuse, SpikeTemporalSA
from spikevrt.models.vrt.stage import Stage
from spikevrt.system.memory import TRAINING_ADVICE
from spikevrt.training.loss import charbonnier
from spikevrt.training.memory_budget import step_memory
from spikevrt.training.optimiser_step import OptimiserStep
from spikevrt.training.trainer import Trainer
from spikevrt_kernels.temporal_block.op import temporal_block
from spikevrt_kernels.window_attention.op import window_attention

ROOT = Path(__file__).resolve().parents[2]
WHOLE = (VRTWithSpike, VRT, SpikeEncoder3D, SpikeTemporalSA, MultiScaleTemporalCrossAttnFuse)
"""Modules whose children are shown."""
CALLED = (build_model, load_config, step_memory)
"""Functions whose signature is shown, besides the forward of `WHOLE`."""
OTHERS = (Stage, temporal_block, window_attention, ClipDataset, SpikeFile, Trainer, OptimiserStep, charbonnier)
"""What is shown by its place alone."""
REFUSED = {
    "channels": "MODEL.CHANNELS_PER_SCALE=[96, 96, 96]",
    "heads": "MODEL.CHANNELS_PER_SCALE=[96, 96, 96, 90]",
    "crop": "DATA.CROP_SIZE=250",
    "key": "TRAIN.GRAD_CLIP=1",
}
"""Options whose messages are shown."""


def code_figures(model: VRTWithSpike) -> dict[str, str]:
    """Places, children, signatures and messages."""
    return {
        **{f"file.{thing.__name__}": place_of(thing) for thing in (*WHOLE, *OTHERS, *CALLED)},
        **children(model),
        **{f"call.{module.__name__}": signature_of(module.forward) for module in WHOLE},
        **{f"call.{function.__name__}": signature_of(function) for function in CALLED},
        **{f"error.{name}": refusal(option) for name, option in REFUSED.items()},
        "advice.memory": TRAINING_ADVICE,
    }


def place_of(thing: Callable[..., Any]) -> str:
    """The file of a class or function, from the top of the checkout."""
    path = inspect.getsourcefile(inspect.unwrap(thing))
    assert path is not None
    return str(Path(path).resolve().relative_to(ROOT))


def children(model: VRTWithSpike) -> dict[str, str]:
    """Names of the parts of each module of `WHOLE`, as weights are called."""
    found: dict[type, nn.Module] = {type(module): module for module in model.modules()}
    return {
        f"children.{kind.__name__}": ", ".join(f"`{name}`" for name, _ in found[kind].named_children())
        for kind in WHOLE
    }


def signature_of(function: Callable[..., Any]) -> str:
    """`def name(arguments) -> result`, types without their modules."""
    text = re.sub(r"\b(?:\w+\.)+([A-Za-z_]\w*)", r"\1", str(inspect.signature(function)))
    return f"def {function.__name__}{text}"


def refusal(option: str) -> str:
    """What is said about an option that is not allowed."""
    try:
        load_config("default", [option])
    except UserError as error:
        return str(error)
    raise AssertionError(f"{option} is allowed")

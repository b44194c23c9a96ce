"""Checks every entry of a training checkpoint before any of it is used."""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikevrt.config import Config, TrainConfig
from spikevrt.config.keys import ENDLESS
from spikevrt.errors import UserError, shown
from spikevrt.models.checkpoint import check_finite, compare, is_finite
from spikevrt.models.planning import model_without_storage
from spikevrt.models.weights.digest import DamagedFileError
from spikevrt.models.weights.files import described
from spikevrt.training.optimisation import is_flow, make_optimizer

LATER_COUNTS = {"draws", "validated", "world", "samples", "skipped"}
"""Counters that the first checkpoints did not hold."""
HIGHEST_SCORE = 1e6
MOMENTS = ("exp_avg", "exp_avg_sq")
NUMBERS = ("lr", "eps", "weight_decay", "scale")
"""Values of a parameter group that are numbers of 0 or more."""


class Entries:
    """One level of a checkpoint; every method raises a `DamagedFileError` that names the entry.

    Args:
        path: names the file in messages.
        name: dotted name of this level, with a dot behind it; empty for the top.
        values: its entries.
    """

    def __init__(self, path: Path, name: str, values: Mapping[Any, Any]) -> None:
        self.path = path
        self.name = name
        self.values = values

    def fail(self, name: Any, problem: str) -> None:
        """Raise the error of an entry."""
        raise DamagedFileError(f"checkpoint {self.path}: damaged: {self.name}{name} {problem}; use another checkpoint")

    def get(self, name: Any, kind: type | tuple[type, ...], wanted: str) -> Any:
        """An entry that must be of a type, which `wanted` describes; a boolean is no number."""
        if name not in self.values:
            self.fail(name, "is missing")
        value = self.values[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fail(name, f"holds {described(value)}, must be {wanted}")
        return value

    def level(self, name: Any, kind: type = dict) -> "Entries":
        """An entry that holds entries, by name or, for a list, by position."""
        values = self.get(name, kind, f"a {kind.__name__}")
        return Entries(self.path, f"{self.name}{name}.", dict(enumerate(values)) if kind is list else values)

    def number(self, name: Any, allowed: Callable[[float], bool], wanted: str, whole: bool = False) -> None:
        """Check a number."""
        value = self.get(name, int if whole else (int, float), wanted)
        if not allowed(value):
            self.fail(name, f"= {shown(value)}, must be {wanted}")

    def count(self, name: Any) -> None:
        """Check an integer of 0 or more that a run can reach."""
        self.number(name, lambda value: 0 <= value <= ENDLESS, f"a count of 0 to {ENDLESS:.0e}", whole=True)


def check_entries(path: Path, state: Mapping[str, Any], config: Config) -> None:
    """Check weights, EMA, counters, optimiser and scaler of a checkpoint whose configuration is `config`.

    Raises:
        DamagedFileError: an entry is missing, or has another type, shape or range; the message names it.
    """
    top = Entries(path, "", state)
    model = shapes_of(config)
    check_weights(top, "params", model)
    if config.train.ema_decay or state.get("params_ema") is not None:
        check_weights(top, "params_ema", model)
    training = top.level("training")
    training.count("step")
    training.count("bad_steps")
    for name in LATER_COUNTS & training.values.keys():
        training.count(name)
    training.number("best", lambda value: value < HIGHEST_SCORE or value == math.inf, "a score in dB")
    check_optimizer(training.level("optimizer"), model, config.train)
    check_scaler(training.level("scaler"))


@lru_cache(maxsize=1)
def shapes_of(config: Config) -> nn.Module:
    """A configuration's model without storage: names, shapes and types."""
    return model_without_storage(config)


def check_weights(top: Entries, name: str, model: nn.Module) -> None:
    """Check that an entry holds the whole state of a model, all of it finite; computed buffers may be left out."""
    weights = top.level(name).values
    own = model.state_dict()
    foreign = [key for key in weights if key not in own]
    if foreign:
        top.fail(name, f"holds {len(foreign)} entries of another model ({shown(foreign[0])})")
    report = compare(weights, own, {key for key, _ in model.named_buffers()})
    if report:
        top.fail(name, f"does not fit its config: {report}")
    try:
        check_finite(weights, f"{top.path}: {name}")
    except UserError as error:
        raise DamagedFileError(str(error)) from None


def check_optimizer(optimizer: Entries, model: nn.Module, train: TrainConfig) -> None:
    """Check the state of AdamW against the parameters of the model, in the order of `make_optimizer`."""
    named = list(model.named_parameters())
    shapes = [[p.shape for n, p in named if is_flow(n) == flow] for flow in (False, True)]
    groups = optimizer.level("param_groups", list)
    if len(groups.values) != len(shapes):
        optimizer.fail("param_groups", f"holds {len(groups.values)} groups, must hold {len(shapes)}")
    flat: list[torch.Size] = []
    for i, own in enumerate(shapes):
        check_group(groups.level(i), list(range(len(flat), len(flat) + len(own))), train)
        flat += own
    moments = optimizer.level("state")
    for index in moments.values:
        if type(index) is not int or not 0 <= index < len(flat):
            moments.fail(shown(index), f"is no parameter, must be 0 to {len(flat) - 1}")
        check_moments(moments.level(index), flat[index])


def check_group(group: Entries, parameters: list[int], train: TrainConfig) -> None:
    """Check the settings of a parameter group and that it lists its parameters."""
    if group.get("params", list, "a list") != parameters:
        group.fail("params", f"does not list the model's {len(parameters)} parameters")
    for name in NUMBERS:
        group.number(name, lambda value: 0 <= value < math.inf, "a finite number of 0 or more")
    group.get("betas", tuple, "a pair")
    usual = make_optimizer(nn.Linear(1, 1), train).param_groups[0]
    for name in group.values.keys() & usual.keys() - {"params", *NUMBERS}:
        if type(group.values[name]) is not type(usual[name]) or group.values[name] != usual[name]:
            group.fail(name, f"is not {usual[name]}")


def check_moments(moments: Entries, shape: torch.Size) -> None:
    """Check AdamW's state of one parameter."""
    for name in ("step", *MOMENTS):
        value = moments.get(name, Tensor, "a tensor")
        wanted = shape if name in MOMENTS else torch.Size()
        if value.shape != wanted or not value.is_floating_point():
            moments.fail(name, f"is {value.dtype} {list(value.shape)}, must be floating {list(wanted)}")
        if not is_finite(value) or (name != "exp_avg" and bool((value < 0).any())):
            moments.fail(name, "holds NaN, infinity or a negative value")


def check_scaler(scaler: Entries) -> None:
    """Check the state of a gradient scaler; it is empty except for fp16."""
    if not scaler.values:
        return
    for name in ("scale", "growth_factor", "backoff_factor"):
        scaler.number(name, lambda value: 0 < value < math.inf, "a positive finite number")
    for name in ("growth_interval", "_growth_tracker"):
        scaler.count(name)

"""Loads weights of this project and of the published ones into a model, and reports what does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikevrt.errors import REASON_LENGTH, UserError, one_line, shown
from spikevrt.models.weights.files import described, read_state
from spikevrt.models.weights.hints import likely_cause

LICENCE = "official VRT weights are CC-BY-NC 4.0 (not for commercial use)"
SHOWN_NAMES = 5
OLD_NAMES = {
    "spike_temporal_sa.sa_blocks.": "spike_temporal_sa.blocks.",
    "cross_attn_fuse.cross_attn_blocks.": "cross_attn_fuse.fuse_blocks.",
}
"""Other names of parameters -> the names in this model."""
EMA_ENTRIES = ("params_ema", "ema", "model_ema", "ema_state_dict", "state_dict_ema")
PLAIN_ENTRIES = ("params", "state_dict", "model_state_dict", "model", "module", "generator", "net_g", "net", "weights")
ENTRIES = EMA_ENTRIES + PLAIN_ENTRIES
"""Entries of a file that hold its weights, the preferred first."""
DEEPEST = 3
"""How many such entries may lie in each other."""
WRAPPER_NAMES = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts that wrappers of PyTorch (distributed, compiled, averaged, recomputed) insert anywhere in a name."""
LEADING_NAMES = {"model", "net", "net_g", "generator"}
"""Attributes under which a project's own wrapper holds the network."""
OTHER_POSITIONS = "holds other positions than the model computes"
COUNTERS = ("n_averaged",)
"""Entries of PyTorch's wrappers that are no weights."""


def rename(key: str) -> str:
    """The current name of a parameter, without the parts that wrappers insert."""
    parts = [part for part in key.split(".") if part not in WRAPPER_NAMES]
    while len(parts) > 1 and parts[0] in LEADING_NAMES:
        parts = parts[1:]
    key = ".".join(parts)
    for old, new in OLD_NAMES.items():
        key = key.replace(old, new)
    return key


def holds_weights(value: Any, depth: int = DEEPEST) -> bool:
    """Whether a value is a mapping with tensors, or with an entry that holds such a mapping."""
    if not isinstance(value, Mapping):
        return False
    return any(torch.is_tensor(own) for own in value.values()) or (
        depth > 0 and any(holds_weights(value.get(name), depth - 1) for name in ENTRIES)
    )


def unwrap(state: Mapping[str, Any], label: str) -> tuple[dict[str, Any], str | None]:
    """The weights of a file by their current names, however they are wrapped, and the entry of an EMA they come from.

    Args:
        state: what the file holds.
        label: what messages call it.

    Raises:
        UserError: `params` or `params_ema` holds something else, or two entries have the same current name.
    """
    ema = None
    for _ in range(DEEPEST + 1):
        for name in ("params_ema", "params"):
            if state.get(name) is not None and not holds_weights(state[name]):
                raise UserError(
                    f"checkpoint {label}: {name} holds {described(state[name])}, not weights by name; use another file"
                )
        entry = next((name for name in ENTRIES if holds_weights(state.get(name))), None)
        if entry is None:
            break
        ema = ema or (entry if entry in EMA_ENTRIES else None)
        state = state[entry]
    weights: dict[str, Any] = {}
    for key, value in state.items():
        name = rename(str(key))
        if name in weights:
            raise UserError(f"checkpoint {label}: holds {shown(name)} twice, as {shown(key)} too; keep one of them")
        if name not in COUNTERS:
            weights[name] = value
    return weights, ema


@dataclass(frozen=True)
class LoadReport:
    """What could not be loaded; false if everything fitted."""

    missing: tuple[str, ...]
    """Parameters that the file lacks; they keep their values."""
    unexpected: tuple[str, ...]
    """Entries of the file that the model lacks."""
    reshaped: tuple[str, ...]
    """`name: shape in the file != shape in the model`, per parameter."""

    @property
    def count(self) -> int:
        """How many weights do not fit."""
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        parts = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.reshaped),
        )
        return "; ".join(f"{len(names)} {what} ({abbreviate(names)})" for what, names in parts if names)


def abbreviate(names: tuple[str, ...]) -> str:
    """The first few names, or names with what is wrong about them, as text."""
    some = SHOWN_NAMES if len(names) <= SHOWN_NAMES else 1
    return ", ".join(one_line(name, REASON_LENGTH) for name in names[:some]) + (", ..." if len(names) > some else "")


def compare(weights: Mapping[str, Any], own: Mapping[str, Tensor], computed: set[str]) -> LoadReport:
    """How weights fit a model.

    Args:
        weights: tensors by their current names; what is no tensor and unknown to the model is left out.
        own: the model's state.
        computed: names of `own` that the weights may omit, because the model computes them.
    """
    missing = tuple(key for key in own if key not in weights and key not in computed)
    unexpected = tuple(key for key, value in weights.items() if key not in own and torch.is_tensor(value))
    common = sorted(weights.keys() & own.keys())
    reshaped = {key: difference(weights[key], own[key]) for key in common}
    return LoadReport(missing, unexpected, tuple(f"{key}: {text}" for key, text in reshaped.items() if text))


def difference(value: Any, own: Tensor) -> str | None:
    """Why a value cannot take the place of a tensor of the model; None if it can."""
    if not torch.is_tensor(value):
        return f"{described(value)} != a tensor"
    if value.shape != own.shape:
        return f"{list(value.shape)} != {list(own.shape)}"
    if value.is_quantized or value.layout != torch.strided or value.is_meta:
        kind = "quantised" if value.is_quantized else "without values" if value.is_meta else "sparse"
        return f"{kind} != dense"
    if value.is_floating_point() != own.is_floating_point() or value.is_complex():
        return f"{value.dtype} != {own.dtype}"
    if not own.is_floating_point() and not own.is_meta and not torch.equal(value.to(own), own):
        return OTHER_POSITIONS
    return None


def check_finite(weights: Mapping[str, Any], label: str) -> None:
    """Raise a `UserError` for weights that are NaN or infinite in float32, in which models compute."""
    bad = tuple(key for key, value in weights.items() if torch.is_tensor(value) and not is_finite(value))
    if bad:
        raise UserError(
            f"checkpoint {label}: NaN or infinity in {len(bad)} of {len(weights)} entries ({abbreviate(bad)}); "
            "it was saved after training had failed or is damaged; use an earlier one"
        )


def is_finite(value: Tensor) -> bool:
    """Whether all elements are finite in float32."""
    return not value.is_floating_point() or bool(torch.isfinite(value.float()).all())


def load_weights(
    model: nn.Module,
    source: str | Path | Mapping[str, Any],
    strict: bool = True,
    name: str | None = None,
) -> LoadReport:
    """Load a file or a state; wrappers (see `unwrap`) and the computed buffers are optional in it.

    Args:
        model: receives the weights; it stays as it is after an error.
        source: a path or a state.
        strict: True = anything that does not fit is an error; False = it is printed and the rest is loaded.
        name: what messages call `source`.

    Raises:
        UserError: something does not fit and `strict` is set, nothing fits at all, or a weight is not finite.
    """
    label = name or (str(source) if isinstance(source, (str, Path)) else "state")
    state = read_state(source) if isinstance(source, (str, Path)) else source
    weights, ema = unwrap(state, label)
    own = model.state_dict()
    report = compare(weights, own, {key for key, _ in model.named_buffers()})
    if report and strict:
        cause = likely_cause(weights, own)
        raise UserError(f"checkpoint {label}: does not fit this configuration: {cause}{report}")
    wrong = {text.partition(":")[0] for text in report.reshaped}
    fitting = {key: value for key, value in weights.items() if key in own and key not in wrong}
    if not fitting:
        raise UserError(f"checkpoint {label}: holds nothing of this model: {likely_cause(weights, own)}{report}")
    check_finite(fitting, label)
    model.load_state_dict(fitting, strict=False)
    if ema:
        print(one_line(f"checkpoint {label}: uses its EMA weights ({ema})"))
    if report:
        print(one_line(f"checkpoint {label}: loaded in part: {report}"))
    return report


def unwrap_params(module: nn.Module, state: dict[str, object], prefix: str, *_: object) -> None:
    """Before loading: unwrap a whole state, see `unwrap`."""
    if prefix == "":
        weights, _ema = unwrap(state, "state")
        state.clear()
        state.update(weights)


def keep_own_buffers(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Before loading: insert the module's own computed buffers, which a checkpoint may omit."""
    for name, own in module.named_buffers(recurse=False):
        state.setdefault(prefix + name, own)

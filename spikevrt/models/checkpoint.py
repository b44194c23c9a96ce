"""Reads weights of this project and of the published ones, and reports what does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikevrt.errors import UserError

SHOWN_NAMES = 5
COMPUTED = (".relative_position_index", ".position_bias", "spynet.mean", "spynet.std")
"""Endings of buffers that a checkpoint may omit, because the model computes them."""
OLD_NAMES = {
    "spike_temporal_sa.sa_blocks.": "spike_temporal_sa.blocks.",
    "cross_attn_fuse.cross_attn_blocks.": "cross_attn_fuse.fuse_blocks.",
}
"""Other names of parameters -> the names in this model."""


def rename(key: str) -> str:
    """The current name of a parameter, without the prefix of a distributed run."""
    key = key.removeprefix("module.")
    for old, new in OLD_NAMES.items():
        key = key.replace(old, new)
    return key


@dataclass(frozen=True)
class LoadReport:
    """What could not be loaded; false if everything fitted."""

    missing: tuple[str, ...]
    """Parameters that the file lacks; they keep their values."""
    unexpected: tuple[str, ...]
    """Entries of the file that the model lacks."""
    reshaped: tuple[str, ...]
    """`name: shape in the file != shape in the model`, per parameter."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        parts = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.reshaped),
        )
        return "; ".join(f"{len(names)} {what} ({abbreviate(names)})" for what, names in parts if names)


def abbreviate(names: tuple[str, ...]) -> str:
    """The first few names, as text."""
    return ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")


def read_state(path: str | Path) -> dict[str, Any]:
    """Read the dictionary in a `.pth`, `.pt` or `.safetensors` file to the CPU; no code of the file is run.

    Raises:
        UserError: the file is missing or not a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"checkpoint {path}: no such file; give the path of a .pt, .pth or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged file can raise almost any exception.
        raise UserError(
            f"checkpoint {path}: cannot be read ({type(error).__name__}); it is damaged, "
            "cut short or not a file of weights; copy or download it again"
        ) from None
    if not isinstance(state, dict):
        raise UserError(
            f"checkpoint {path}: holds {type(state).__name__}, not a dictionary of weights; name a file of weights"
        )
    return state


def load_weights(
    model: nn.Module,
    source: str | Path | Mapping[str, Any],
    strict: bool = True,
    name: str | None = None,
) -> LoadReport:
    """Load a file or a state; the `params` wrapper and the computed buffers are optional in it.

    Args:
        model: receives the weights.
        source: a path or a state.
        strict: True = anything that does not fit is an error; False = it is printed and the rest is loaded.
        name: what messages call `source`.

    Raises:
        UserError: something does not fit and `strict` is set, or nothing fits at all.
    """
    label = name or (str(source) if isinstance(source, (str, Path)) else "state")
    state = read_state(source) if isinstance(source, (str, Path)) else dict(source)
    if isinstance(state.get("params"), Mapping):
        state = dict(state["params"])
    own = {key: value.shape for key, value in model.state_dict().items()}
    state = {rename(key): value for key, value in state.items()}
    wrong = {key for key, value in state.items() if key in own and value.shape != own[key]}
    reshaped = tuple(f"{key}: {list(state[key].shape)} != {list(own[key])}" for key in sorted(wrong))
    fitting = {key: value for key, value in state.items() if key in own and key not in wrong}
    computed = {key for key in own if key.endswith(COMPUTED)}
    missing = tuple(key for key in own if key not in state and key not in computed)
    unexpected = tuple(key for key in state if key not in own)
    report = LoadReport(missing, unexpected, reshaped)
    if report and strict:
        raise UserError(f"checkpoint {label}: does not fit this configuration: {report}")
    if not fitting:
        raise UserError(f"checkpoint {label}: holds nothing of this model: {report}")
    model.load_state_dict(fitting, strict=False)
    if report:
        print(f"checkpoint {label}: loaded in part: {report}")
    return report


def unwrap_params(module: nn.Module, state: dict[str, object], prefix: str, *_: object) -> None:
    """Before loading: unwrap the state that official files store in `params`."""
    if prefix == "" and isinstance(state.get("params"), dict):
        state.update(state.pop("params"))  # type: ignore[call-overload]


def keep_own_buffers(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Before loading: insert the module's own computed buffers, which a checkpoint may omit."""
    for name, own in module.named_buffers(recurse=False):
        state.setdefault(prefix + name, own)

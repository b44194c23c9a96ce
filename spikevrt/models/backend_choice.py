"""Which attention backends a model takes: by name, or on CUDA the fastest ones that prove right there."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import torch
from tqdm import tqdm

from spikevrt.config import Config
from spikevrt.device import half_type
from spikevrt.errors import UserError
from spikevrt.models.attention_trials import attention_trials
from spikevrt_kernels.backends import BACKENDS, MAX_FRAMES, TRITON_OPS, BackendError, resolve_backend
from spikevrt_kernels.checks.case import Case, mixed
from spikevrt_kernels.checks.comparison import Judge
from spikevrt_kernels.checks.timing import Timer
from spikevrt_kernels.checks.traces import without_traces
from spikevrt_kernels.choice import ReasonOf, SecondsOf, Trials, choose, require

T = TypeVar("T")


class Backends(NamedTuple):
    """The backend of each attention operator of a model."""

    temporal_block: str
    """Of the spike branch and the fusion."""
    window_attention: str
    """Of the backbone."""


def choose_backends(config: Config, device: torch.device | None = None, training: bool = True) -> Backends:
    """The backends of MODEL.ATTN_BACKEND on a device.

    On CUDA `auto` tries each one on the model's own shapes, takes the fastest that is right, operator by operator,
    and prints one line about it; `triton` is held against float64 there, too. Anywhere else nothing is tried, and
    `auto` is `sdpa`. The random state of the run is left alone, and no memory is kept.

    Args:
        config: of the model.
        device: where it will run, or None for what needs no trial.
        training: whether gradients count.

    Raises:
        UserError: a backend asked for by name cannot run or is wrong, or none is right.
    """
    asked = config.model.attn_backend
    try:
        named = resolve_backend(asked)
    except BackendError as error:
        raise UserError(str(error)) from None
    check_clip_length(config, named)
    if device is None or not tried_on(device) or asked in ("sdpa", "naive"):
        return Backends(named, named)
    try:
        with without_traces(device):
            return prove_on(device, config, training)
    except BackendError as error:
        raise UserError(f"{error}; python -m spikevrt.selftest says more") from None


def tried_on(device: torch.device) -> bool:
    """Whether backends are tried on a device before they are taken."""
    return device.type == "cuda"


def check_clip_length(config: Config, backend: str) -> None:
    """Raise a `UserError` for clips longer than the kernels take."""
    if backend == "triton" and config.model.use_spike and config.data.clip_len > MAX_FRAMES:
        raise UserError(
            f"DATA.CLIP_LEN {config.data.clip_len}: attention backend triton takes at most {MAX_FRAMES} frames; "
            "use a shorter clip or MODEL.ATTN_BACKEND sdpa"
        )


def prove_on(device: torch.device, config: Config, training: bool) -> Backends:
    """Try the backends of a configuration on a device; what that took is free again on return."""
    precision = mixed(half_type(device, config.train.mixed_precision))
    trials = attention_trials(config, config.train.batch_size if training else 1, training)
    judge, timer = Judge(precision, device, training), Timer(precision, device, training)
    count = sum(len(candidates(op)) * (len(own.checked) + len(own.timed)) for op, own in trials.items())
    # The first start compiles kernels for minutes: the bar says that something happens.
    with tqdm(total=count, desc="attention backends", unit="trial", leave=False) as bar:
        return prove(config.model.attn_backend, trials, noted(judge.reason, bar), noted(timer.seconds, bar))


def noted(ask: Callable[[Case, str], T], bar: tqdm) -> Callable[[Case, str], T]:
    """The same question, shown on the bar."""

    def asked(case: Case, backend: str) -> T:
        bar.set_postfix_str(f"{case.op} {backend}")
        bar.update()
        return ask(case, backend)

    return asked


def prove(asked: str, trials: Mapping[str, Trials], reason_of: ReasonOf, seconds_of: SecondsOf) -> Backends:
    """The backends that `auto` takes, with one line printed, or those of `triton`, which must be right.

    Raises:
        BackendError: `triton` is wrong, or no backend is right.
    """
    if asked == "triton":
        for op in TRITON_OPS:
            require(op, trials.get(op, Trials()), "triton", reason_of)
        return Backends("triton", "triton")
    choices = {op: choose(op, own, candidates(op), reason_of, seconds_of) for op, own in trials.items() if own.checked}
    taken = {op: choice.taken for op, choice in choices.items()}
    print("attention: " + "; ".join(map(str, choices.values())))
    return Backends(**{op: taken.get(op, "sdpa") for op in Backends._fields})


def candidates(op: str) -> tuple[str, ...]:
    """The backends that an operator has."""
    return tuple(b for b in BACKENDS if b != "triton" or op in TRITON_OPS)

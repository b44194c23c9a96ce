"""Which attention backends a model takes: by name, or on CUDA the fastest ones that prove right there."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from tqdm import tqdm

from spikevrt.config import Config
from spikevrt.errors import UserError
from spikevrt.models.backends.compiled_kernels import compile_kernels
from spikevrt.models.backends.trials import attention_trials
from spikevrt.system.device import half_type
from spikevrt.system.machine import driver, installed
from spikevrt_kernels.checks.fastest import Ask, Choice, Finding, choices, trial_count
from spikevrt_kernels.checks.trials import Machine
from spikevrt_kernels.core.backends import MAX_FRAMES, BackendError, resolve_backend, takes_kernels, why_not_triton
from spikevrt_kernels.core.case import mixed
from spikevrt_kernels.core.launch import assemble_for
from spikevrt_kernels.core.names import BACKENDS
from spikevrt_kernels.core.processes import cores
from spikevrt_kernels.core.tuned import fingerprint
from spikevrt_kernels.core.user_cache import cache_folder, keep, read_kept, sources
from spikevrt_kernels.registry import TRITON_OPS

FOLDER = "attention"


def read_choices(asked: Ask, device: torch.device) -> list[Choice] | None:
    """What an earlier start found, or None where there was none, or something has changed since."""
    found = read_kept(FOLDER, file_name(asked, device))
    try:
        return [Choice(op, tuple(Finding(*finding) for finding in findings)) for op, findings in found["choices"]]
    except (TypeError, KeyError, ValueError):
        return None


def keep_choices(found: Sequence[Choice], asked: Ask, device: torch.device) -> None:
    """Keep what was found, unless it tells of the moment: a kernel had no memory, or PyTorch's own fail, too."""
    findings = [finding for choice in found for finding in choice.findings]
    if any(f.short_of_memory if f.backend == "triton" else not (f.right or f.short_of_memory) for f in findings):
        return
    facts = [*machine_facts(device), *asked_facts(asked)]
    keep({"of": facts, "choices": [list(choice) for choice in found]}, FOLDER, file_name(asked, device))


def forget_choices() -> None:
    """Prove again: whatever is kept is removed."""
    for path in cache_folder().joinpath(FOLDER).glob("*.json"):
        path.unlink(missing_ok=True)


def file_name(asked: Ask, device: torch.device) -> str:
    """One file for everything that decides what would be found."""
    facts = "\n".join([*machine_facts(device), *asked_facts(asked)])
    return f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"


def machine_facts(device: torch.device) -> list[str]:
    """Device, driver, versions, assembler, the kernels' sources, and the rows that were tuned for them."""
    gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    name = f"{gpu.name} sm_{gpu.major}{gpu.minor} {gpu.total_memory}" if gpu else "cpu"
    assembler = assemble_for(device) if gpu and why_not_triton() is None else "no assembler"
    packages = [f"{package} {installed(package)}" for package in ("torch", "triton")]
    return [name, driver(), *packages, assembler, sources(), f"tuned {fingerprint(device)}"]


def asked_facts(asked: Ask) -> list[str]:
    """Shapes, backends and precision."""
    trials = [" ".join(case.key) for own in asked.trials.values() for cases in own for case in cases]
    backends = [f"{op} {' '.join(own)}" for op, own in asked.backends.items()]
    return [*trials, *backends, asked.precision.name, f"backward {asked.backward}", f"timed {asked.timed}"]


class Backends(NamedTuple):
    """The backend of each attention operator of a model."""

    temporal_block: str
    """Of the spike branch and the fusion."""
    window_attention: str
    """Of the backbone."""


def choose_backends(config: Config, device: torch.device | None = None, training: bool = True) -> Backends:
    """The backends of MODEL.ATTN_BACKEND on a device.

    On CUDA the kernels are compiled on all cores; then `auto` tries each backend on the model's own shapes, takes the
    fastest that is right, operator by operator, and prints one line about it; `triton` is held against float64 there,
    too. Trials have processes of their own: a kernel that crashes or hangs is left out with its reason. What was found
    is kept for the next start on the same machine. Anywhere else nothing is tried, and `auto` is `sdpa`.

    Args:
        config: of the model.
        device: where it will run, or None for what needs no trial.
        training: whether gradients count.

    Raises:
        UserError: a backend asked for by name cannot run or is wrong, or none is right.
    """
    attn_backend = config.model.attn_backend
    try:
        resolved = resolve_backend(attn_backend)
    except BackendError as error:
        raise UserError(str(error)) from None
    check_clip_length(config, resolved)
    if device is None or not tried_on(device) or attn_backend in ("sdpa", "naive"):
        return Backends(resolved, resolved)
    try:
        return prove_on(device, config, training)
    except BackendError as error:
        raise UserError(f"{error}; python -m spikevrt.selftest says more") from None


def tried_on(device: torch.device) -> bool:
    """Whether backends are tried on a device before they are taken."""
    return device.type == "cuda"


def check_clip_length(config: Config, attn_backend: str) -> None:
    """Raise a `UserError` for clips longer than the kernels take."""
    if attn_backend == "triton" and config.model.use_spike and config.data.clip_len > MAX_FRAMES:
        raise UserError(
            f"DATA.CLIP_LEN {config.data.clip_len}: attention backend triton takes at most {MAX_FRAMES} frames; "
            "use a shorter clip or MODEL.ATTN_BACKEND sdpa"
        )


def prove_on(device: torch.device, config: Config, training: bool) -> Backends:
    """Try the backends of a configuration on a device, or read what an earlier start found out there."""
    if takes_kernels(device):
        print(assemble_for(device))
    asked = wanted(device, config, training)
    kept = read_choices(asked, device)
    if kept:
        return decide(config.model.attn_backend, kept, kept=True)
    compile_kernels(config, device, training)
    found = try_backends(asked, device)
    keep_choices(found, asked, device)
    return decide(config.model.attn_backend, found)


def wanted(device: torch.device, config: Config, training: bool) -> Ask:
    """What is asked: `triton` by name is only proved, `auto` also times it beside the others."""
    trials = attention_trials(config, config.train.batch_size if training else 1, training)
    own = {op: some for op, some in trials.items() if some.checked}
    auto = config.model.attn_backend == "auto"
    backends = {op: candidates(op) if auto else ("triton",) for op in own}
    return Ask(own, backends, mixed(half_type(device, config.train.mixed_precision)), training, auto)


def try_backends(asked: Ask, device: torch.device) -> list[Choice]:
    """Prove and time in processes of their own; a bar says that something happens."""
    with tqdm(total=trial_count(asked), desc="attention backends", unit="trial", leave=False) as bar:

        def show(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        return choices(asked, Machine(device, cores(), show))


def decide(attn_backend: str, found: Sequence[Choice], kept: bool = False) -> Backends:
    """The backends that `auto` takes, with one line printed, or those of `triton`, which must be right.

    Raises:
        BackendError: `triton` is wrong, or no backend is right.
    """
    again = "; found at an earlier start, --prove-again tries again" if kept else ""
    try:
        if attn_backend == "triton":
            for choice in found:
                choice.require("triton")
            return Backends("triton", "triton")
        taken = {choice.op: choice.taken for choice in found}
    except BackendError as error:
        raise BackendError(f"{error}{again}") from None
    print("attention: " + "; ".join(map(str, found)) + again)
    return Backends(**{op: taken.get(op, "sdpa") for op in Backends._fields})


def candidates(op: str) -> tuple[str, ...]:
    """The backends that an operator has."""
    return tuple(b for b in BACKENDS if b != "triton" or op in TRITON_OPS)

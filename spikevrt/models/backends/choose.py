"""Chooses the attention backends of a model: by name, or on CUDA the fastest that are proved right there."""

import hashlib
from collections.abc import Sequence

import torch
from tqdm import tqdm

from spikevrt.config import Config
from spikevrt.errors import UserError
from spikevrt.models.backends.compiled_kernels import compile_kernels
from spikevrt.models.backends.trials import operator_trials
from spikevrt.system.device import half_type
from spikevrt.system.machine import driver, installed
from spikevrt_kernels.checks.fastest import Ask, Choice, Finding, choices, trial_count
from spikevrt_kernels.checks.trials import Machine
from spikevrt_kernels.core.backends import MAX_FRAMES, BackendError, resolve_backend, takes_kernels, why_not_triton
from spikevrt_kernels.core.case import mixed
from spikevrt_kernels.core.launch import assemble_for
from spikevrt_kernels.core.names import BACKENDS, Backends
from spikevrt_kernels.core.processes import cores
from spikevrt_kernels.core.tuned import fingerprint
from spikevrt_kernels.core.user_cache import cache_folder, keep, read_kept, sources
from spikevrt_kernels.registry import TRITON_OPS

CHOICES_FOLDER = "attention"


def read_choices(asked: Ask, device: torch.device) -> list[Choice] | None:
    """The stored choices of an earlier run, or None if there are none for the same machine, versions and model."""
    found = read_kept(CHOICES_FOLDER, file_name(asked, device))
    try:
        return [Choice(op, tuple(Finding(*finding) for finding in findings)) for op, findings in found["choices"]]
    except (TypeError, KeyError, ValueError):
        return None


def keep_choices(found: Sequence[Choice], asked: Ask, device: torch.device) -> None:
    """Store the choices, unless a failure may be temporary: a kernel was out of memory, or a PyTorch backend failed."""
    findings = [finding for choice in found for finding in choice.findings]
    if any(f.short_of_memory if f.backend == "triton" else not (f.right or f.short_of_memory) for f in findings):
        return
    facts = [*machine_facts(device), *asked_facts(asked)]
    keep({"of": facts, "choices": [list(choice) for choice in found]}, CHOICES_FOLDER, file_name(asked, device))


def forget_choices() -> None:
    """Delete all stored choices, so that backends are tried again."""
    for path in cache_folder().joinpath(CHOICES_FOLDER).glob("*.json"):
        path.unlink(missing_ok=True)


def file_name(asked: Ask, device: torch.device) -> str:
    """Name of the file for everything that the choices depend on."""
    facts = "\n".join([*machine_facts(device), *asked_facts(asked)])
    return f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"


def machine_facts(device: torch.device) -> list[str]:
    """Device, driver, versions, assembler, source of the kernels, and tile sizes tuned for the device."""
    gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    name = f"{gpu.name} sm_{gpu.major}{gpu.minor} {gpu.total_memory}" if gpu else "cpu"
    assembler = assemble_for(device) if gpu and why_not_triton() is None else "no assembler"
    packages = [f"{package} {installed(package)}" for package in ("torch", "triton")]
    return [name, driver(), *packages, assembler, sources(), f"tuned {fingerprint(device)}"]


def asked_facts(asked: Ask) -> list[str]:
    """Shapes, backends and precision of the trials."""
    trials = [" ".join(case.key) for own in asked.trials.values() for cases in own for case in cases]
    backends = [f"{op} {' '.join(own)}" for op, own in asked.backends.items()]
    return [*trials, *backends, asked.precision.name, f"backward {asked.backward}", f"timed {asked.timed}"]


def choose_backends(config: Config, device: torch.device | None = None, training: bool = True) -> Backends:
    """The backends that MODEL.ATTN_BACKEND selects on a device.

    On CUDA the kernels are compiled on all cores. Then `auto` tries each backend on the model's own shapes, selects
    the fastest correct one for each operator, and prints one line about it; `triton` is only checked against float64.
    Trials run in separate processes, so a kernel that crashes or hangs is only excluded, with a reason. The result is
    stored for the next run on the same machine. On other devices nothing is tried, and `auto` is `sdpa`.

    Args:
        config: configuration of the model.
        device: where the model will run; None = try nothing.
        training: whether gradients are needed.

    Raises:
        UserError: the named backend cannot run or is wrong, or no backend is right.
    """
    attn_backend = config.model.attn_backend
    try:
        resolved = resolve_backend(attn_backend)
    except BackendError as error:
        raise UserError(str(error)) from None
    check_clip_length(config, resolved)
    if device is None or not tried_on(device) or attn_backend in ("sdpa", "naive"):
        return Backends.of(resolved)
    try:
        return prove_on(device, config, training)
    except BackendError as error:
        raise UserError(f"{error}; run python -m spikevrt.selftest for details") from None


def tried_on(device: torch.device) -> bool:
    """Whether backends are tried on a device before they are used."""
    return device.type == "cuda"


def check_clip_length(config: Config, attn_backend: str) -> None:
    """Raise a `UserError` if clips are longer than the kernels allow."""
    if attn_backend == "triton" and config.model.use_spike and config.data.clip_len > MAX_FRAMES:
        raise UserError(
            f"DATA.CLIP_LEN {config.data.clip_len}: attention backend triton takes at most {MAX_FRAMES} frames; "
            "use a shorter clip or MODEL.ATTN_BACKEND sdpa"
        )


def prove_on(device: torch.device, config: Config, training: bool) -> Backends:
    """Try the backends of a configuration on a device, or read the stored choices."""
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
    """The trials to run: `triton` is only checked, `auto` also compares the speed of all backends."""
    trials = operator_trials(config, config.train.batch_size if training else 1, training)
    own = {op: some for op, some in trials.items() if some.checked}
    auto = config.model.attn_backend == "auto"
    backends = {op: candidates(op) if auto else ("triton",) for op in own}
    return Ask(own, backends, mixed(half_type(device, config.train.mixed_precision)), training, auto)


def try_backends(asked: Ask, device: torch.device) -> list[Choice]:
    """Check and time the backends in separate processes, behind a progress bar."""
    with tqdm(total=trial_count(asked), desc="attention backends", unit="trial", leave=False) as bar:

        def show(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        return choices(asked, Machine(device, cores(), show))


def decide(attn_backend: str, found: Sequence[Choice], kept: bool = False) -> Backends:
    """Select the backends from the results of the trials; for `auto`, print one line about them.

    Raises:
        BackendError: MODEL.ATTN_BACKEND is `triton` and it is wrong, or no backend is right.
    """
    again = "; stored by an earlier run, --prove-again tries again" if kept else ""
    try:
        if attn_backend == "triton":
            for choice in found:
                choice.require("triton")
            return Backends.of("triton")
        taken = {choice.op: choice.taken for choice in found}
    except BackendError as error:
        raise BackendError(f"{error}{again}") from None
    print("attention: " + "; ".join(map(str, found)) + again)
    return Backends(**{op: taken.get(op, "sdpa") for op in Backends._fields})


def candidates(op: str) -> tuple[str, ...]:
    """The backends that an operator offers."""
    return tuple(b for b in BACKENDS if b != "triton" or op in TRITON_OPS)

"""What was found out about attention backends, kept for the next start of the same program on the same machine."""

import hashlib
from collections.abc import Sequence

import torch

from spikevrt.system.machine import driver, installed
from spikevrt_kernels.checks.fastest import Ask, Choice, Finding
from spikevrt_kernels.core.backends import why_not_triton
from spikevrt_kernels.core.launch import assemble_for
from spikevrt_kernels.core.tuned import fingerprint
from spikevrt_kernels.core.user_cache import cache_folder, keep, read_kept, sources

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

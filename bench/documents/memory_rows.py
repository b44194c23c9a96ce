"""The quick reference's rows of memory, from the figures of `memory.py`."""

from collections.abc import Iterator, Mapping

from bench.documents.memory import BATCHES, BUDGETS, GPUS, OWN, REST, Case, Figures, scenario
from bench.documents.model import PRESETS
from spikevrt.system.memory import CONTEXT_BYTES, GAPS_SHARE, for_tensors
from spikevrt.training.memory_budget import GB

CLAIMS = dict(zip((2, 4, 8), BUDGETS, strict=True))
"""GB of the old document by batch."""
LARGEST = "high_quality"
"""The preset that is too large for some GPUs."""
FIRST = Case("default", "triton", 1).name


def memory_figures(memory: Mapping[str, Figures]) -> dict[str, str]:
    """All fields of memory."""
    first = memory[FIRST]
    own = {f"memory.{name.replace(' ', '_')}": f"{first['kept'][name]:.2f}" for name in (*OWN, REST)}
    of_claims = {batch: memory[Case("default", "triton", batch).name] for batch in CLAIMS}
    return {
        **own,
        "memory.all": f"{first['all']:.1f}",
        "memory.least": f"{first['least']:.2f}",
        **{f"memory.flags{batch}": f"{found['flags']:.1f}" for batch, found in of_claims.items()},
        "rows.batches": "\n".join(batch_rows(memory)),
        **{f"rows.{preset}": "\n".join(backend_rows(memory, preset)) for preset in ("default", *PRESETS)},
        f"rows.fits_{LARGEST}": "\n".join(fitting_rows(memory, LARGEST)),
        "budget.context": f"{CONTEXT_BYTES / GB:.1f}",
        "budget.gaps": f"{GAPS_SHARE:.0%}",
        **{f"budget.{size}": f"{for_tensors(size * GB) / GB:.1f}" for size in GPUS},
    }


def batch_rows(memory: Mapping[str, Figures]) -> Iterator[str]:
    """`default` with the kernels by batch: what was claimed, its own flags, within the claim, least, all kept."""
    for batch in BATCHES:
        found, claim = memory[Case("default", "triton", batch).name], CLAIMS.get(batch)
        within = "-" if claim is None else cell(found["again"].get(f"budget {claim}"))
        cells = (batch, claim or "-", f"{found['flags']:.2f}", within, least(found), f"{found['all']:.1f}")
        yield "| " + " | ".join(map(str, cells)) + " |"


def backend_rows(memory: Mapping[str, Figures], preset: str) -> Iterator[str]:
    """A preset by backend: its own flags, least, and what each GPU leaves to compute again."""
    for case in scenario(preset):
        found = memory[case.name]
        gpus = [cell(found["again"].get(f"GPU {size}")) for size in GPUS]
        yield "| " + " | ".join((f"`{case.backend}`", f"{found['flags']:.2f}", least(found), *gpus)) + " |"


def fitting_rows(memory: Mapping[str, Figures], preset: str) -> Iterator[str]:
    """What fits GPUs that are too small for a preset, by backend."""
    for case in scenario(preset):
        for gpu, options in memory[case.name]["fits"].items():
            fitting = ", ".join(f"`{option}`" for option in options) or "-"
            yield f"| {gpu.removeprefix('GPU ')} | `{case.backend}` | {fitting} |"


def least(found: Figures) -> str:
    """Least memory, and what is computed again for it."""
    return f"{found['least']:.2f} ({found['least again']:.2f})"


def cell(again: float | None) -> str:
    """What is computed again; a dash where nothing fits."""
    return "-" if again is None else f"{again:.2f}"

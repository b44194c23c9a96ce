"""Who may import whom, and who does: the layers of ARCHITECTURE.md and the imports of a source tree."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from spikevrt_kernels.core.names import operator_names

COMMANDS = {
    "demo",
    "prepare",
    "simulate",
    "identify",
    "playback",
    "plan",
    "plot",
    "train",
    "evaluate",
    "deblur",
    "export",
    "config.__main__",
    "selftest",
}
OPERATORS = {"linear", "flow_warp", *operator_names()}
BENCH_COMMANDS = {
    "bounds",
    "conftest",
    "gpu_report",
    "half_stream",
    "host_time",
    "kernels_report",
    "memory_spikes",
    "memory_training",
    "quick_reference",
    "report",
    "seeds",
    "seams",
    "streaks",
    "streams",
    "structure",
    "training_step",
    "tune",
    "weights",
}
BENCHMARKS = {"around", "dataset", "deblur", "model", "simulator", "temporal", "voxelize", "window_attention"}
LAYERS: dict[str, tuple[set[str], ...]] = {
    "spikevrt": (
        {"errors", "table", "weights"},
        {"config"},
        {"cli", "system"},
        {"data"},
        {"models"},
        {"restoration"},
        {"training"},
        {"predictions"},
        COMMANDS,
        {"__main__"},
    ),
    "spikevrt.data": ({"files"}, {"spikes"}, {"simulation", "clips"}, {"identification"}, {"preparation"}),
    "spikevrt.models": (
        {"init", "checkpoint", "randomness", "segments", "weights"},
        {"spike_encoder3d", "temporal", "vrt", "segment_runs"},
        {"vrt_with_spike", "half_weights", "compiled_parts", "segment_costs"},
        {"memory_plan"},
        {"backends"},
        {"build"},
        {"planning"},
        {"traffic", "trained"},
    ),
    "spikevrt_kernels": ({"core"}, OPERATORS, {"registry"}, {"proof"}, {"checks", "warmup"}),
    "bench": (
        {"workloads", "source_tree"},
        {"results"},
        {"without_gpu", "gpu", "tuning", "documents"},
        BENCH_COMMANDS | {f"bench_{name}" for name in BENCHMARKS},
    ),
}
"""Packages and their largest folders: a part imports parts of its own layer and of those before it."""


def folder_of(root: Path, package: str) -> Path:
    """Where a package lies in a checkout."""
    return root / ("kernels" if package.startswith("spikevrt_kernels") else "") / package.replace(".", "/")


def sources(root: Path, package: str) -> Iterator[tuple[str, Path]]:
    """Every file of a package with the part (a folder, or a file without its ending) that it belongs to."""
    folder = folder_of(root, package)
    for path in sorted(folder.rglob("*.py")):
        part = part_of(list(path.relative_to(folder).with_suffix("").parts))
        if part != "__init__":
            yield part, path


def part_of(names: Sequence[str]) -> str:
    """The first of a module's names below the package; the command of a folder is a part of its own."""
    return f"{names[0]}.__main__" if names[1:2] == ["__main__"] else names[0]


def imported(path: Path, package: str) -> set[str]:
    """Parts of a package that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        below = [name.removeprefix(f"{package}.") for name in names if name.startswith(f"{package}.")]
        found |= {part_of(name.split(".")) for name in below}
    return found


def upward_imports(root: Path, package: str) -> list[str]:
    """Imports against the layers, as `file -> part`; parts that no layer names are left out."""
    rank = {part: i for i, layer in enumerate(LAYERS[package]) for part in layer}
    return [
        f"{path.relative_to(root)} -> {package}.{other}"
        for part, path in sources(root, package)
        for other in sorted(imported(path, package))
        if rank.get(other, 0) > rank.get(part, len(rank))
    ]


def parts_without_layer(root: Path, package: str) -> set[str]:
    """Parts of a package that `LAYERS` does not name."""
    return {part for part, _ in sources(root, package)} - {part for layer in LAYERS[package] for part in layer}


def circular_arrows(root: Path, package: str) -> list[str]:
    """Imports between parts that reach each other, as `part -> part`."""
    parts = {part for part, _ in sources(root, package)}
    arrows: dict[str, set[str]] = {part: set() for part in parts}
    for part, path in sources(root, package):
        arrows[part] |= (imported(path, package) & parts) - {part}
    reach = {part: set(others) for part, others in arrows.items()}
    for middle in parts:
        for found in reach.values():
            if middle in found:
                found |= reach[middle]
    return [f"{package}: {a} -> {b}" for a in sorted(arrows) for b in sorted(arrows[a]) if a in reach[b]]

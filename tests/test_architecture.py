"""Who may import whom: the arrows of ARCHITECTURE.md, read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from spikevrt.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
OPERATORS = {
    "linear",
    "deform_conv",
    "flow_warp",
    "temporal_attention",
    "temporal_block",
    "voxelize",
    "window_attention",
}
LAYERS = {
    "spikevrt": (
        {"errors", "table"},
        {"config"},
        {"cli", "system"},
        {"data"},
        {"models"},
        {"restoration"},
        {"training"},
        set(COMMANDS),
        {"__main__"},
    ),
    "spikevrt_kernels": ({"core"}, OPERATORS, {"registry"}, {"proof"}, {"checks", "warmup"}),
}
"""A part imports parts of its own layer and of those before it."""
ROOMS = {
    "spikevrt.data": ({"files"}, {"spikes"}, {"simulation", "clips"}, {"identification"}, {"preparation"}),
    "spikevrt.models": (
        {"init", "checkpoint"},
        {"spike_encoder3d", "temporal", "vrt"},
        {"vrt_with_spike"},
        {"backends"},
        {"build"},
        {"planning"},
    ),
}
"""The same inside the two largest folders."""
BOTH = {**LAYERS, **ROOMS}
KNOWN_OPERATORS = {("temporal_block", "temporal_attention"), ("deform_conv", "flow_warp")}
"""Operators that are built of others."""


def sources(package: str) -> Iterator[tuple[str, Path]]:
    """Every file of a package with the part that it belongs to."""
    folder = ROOT / ("kernels" if package == "spikevrt_kernels" else ".") / package.replace(".", "/")
    for path in sorted(folder.rglob("*.py")):
        part = path.relative_to(folder).parts[0].removesuffix(".py")
        if part != "__init__":
            yield part, path


def imported(path: Path, package: str) -> set[str]:
    """Parts of a package that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.removeprefix(f"{package}.").split(".")[0] for name in names if name.startswith(f"{package}.")}
    return found


@pytest.mark.parametrize("package", BOTH)
def test_every_part_stands_in_one_layer(package):
    parts = {part for part, _ in sources(package)}
    layers = [part for layer in BOTH[package] for part in layer]
    assert sorted(layers) == sorted(parts)


@pytest.mark.parametrize("package", BOTH)
def test_no_arrow_runs_upwards(package):
    rank = {part: i for i, layer in enumerate(BOTH[package]) for part in layer}
    upward = {
        f"{path.relative_to(ROOT)} -> {package}.{other}"
        for part, path in sources(package)
        for other in imported(path, package)
        if other in rank and rank[other] > rank[part]
    }
    assert upward == set()


def test_kernels_know_nothing_of_the_model():
    assert [path for _, path in sources("spikevrt_kernels") if imported(path, "spikevrt")] == []


def test_models_and_data_do_not_know_each_other_and_nothing_imports_a_command():
    for part, path in sources("spikevrt"):
        others = imported(path, "spikevrt")
        assert not {(part, other) for other in others} & {("models", "data"), ("data", "models")}, path
        assert not (others - {part}) & set(COMMANDS), path


def test_operators_do_not_know_each_other_but_where_one_is_built_of_another():
    pairs = {
        (part, other)
        for part, path in sources("spikevrt_kernels")
        if part in OPERATORS
        for other in (imported(path, "spikevrt_kernels") & OPERATORS) - {part}
    }
    assert pairs == KNOWN_OPERATORS

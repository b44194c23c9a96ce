"""Which packages may import which: the rules of ARCHITECTURE.md, checked in the sources."""

from pathlib import Path

import pytest

from bench.source_tree.layers import (
    COMMANDS,
    LAYERS,
    OPERATORS,
    circular_arrows,
    imported,
    parts_without_layer,
    sources,
    upward_imports,
)
from spikevrt import __main__ as command_line

ROOT = Path(__file__).parents[1]
KNOWN_OPERATORS = {
    ("temporal_block", "temporal_attention"),
    ("deform_conv", "flow_warp"),
    ("warp_pairs", "flow_warp"),
    ("norm_linear", "linear"),
    ("linear_residual", "linear"),
    ("geglu_block", "linear"),
}
"""Operators that are built of others."""


@pytest.mark.parametrize("package", LAYERS)
def test_every_part_stands_in_one_layer(package):
    layers = [part for layer in LAYERS[package] for part in layer]
    assert sorted(layers) == sorted({part for part, _ in sources(ROOT, package)})
    assert parts_without_layer(ROOT, package) == set()


@pytest.mark.parametrize("package", LAYERS)
def test_no_arrow_runs_upwards_and_none_in_a_circle(package):
    assert upward_imports(ROOT, package) == []
    assert circular_arrows(ROOT, package) == []


def test_the_layer_of_commands_is_the_list_of_commands():
    assert set(command_line.COMMANDS) == {part.removesuffix(".__main__") for part in COMMANDS}


def test_kernels_know_nothing_of_the_model():
    assert [path for _, path in sources(ROOT, "spikevrt_kernels") if imported(path, "spikevrt")] == []


def test_models_and_data_do_not_know_each_other_and_nothing_imports_a_command():
    for part, path in sources(ROOT, "spikevrt"):
        others = imported(path, "spikevrt")
        assert not {(part, other) for other in others} & {("models", "data"), ("data", "models")}, path
        assert not (others - {part}) & COMMANDS, path


def test_operators_do_not_know_each_other_but_where_one_is_built_of_another():
    pairs = {
        (part, other)
        for part, path in sources(ROOT, "spikevrt_kernels")
        if part in OPERATORS
        for other in (imported(path, "spikevrt_kernels") & OPERATORS) - {part}
    }
    assert pairs == KNOWN_OPERATORS

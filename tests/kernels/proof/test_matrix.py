"""The matrix of compiled kernels: what it covers, and that a run which was stopped goes on."""

import json

import pytest
import torch

from spikevrt_kernels.plans import PLANS
from spikevrt_kernels.proof.compiler import Resources
from spikevrt_kernels.proof.compiler_amd import GFX942, compile_for_amd
from spikevrt_kernels.proof.matrix import ARCHITECTURES, Cell, Results, cells, key_of
from tests.toy_kernels import product, row_product


def resources(seconds=1.0):
    return Resources("kernel", 90, 4, 100, 0, 1024, 0, 0, 8, 4, seconds)


def toy_cell(launch, architecture=90):
    return Cell("toy", "product", architecture, 5, torch.float16, launch)


def test_every_architecture_length_and_type_is_there():
    every = list(cells(PLANS))
    variants = {(c.architecture, c.frames, c.dtype) for c in every}
    assert len(variants) == (len(ARCHITECTURES) + 1) * 2 * 2
    assert {c.operator for c in every} == set(PLANS)
    assert len(every) % len(variants) == 0
    assert every[0].architecture != GFX942
    assert every[-1].architecture == GFX942


def test_keys_tell_binaries_apart_and_know_equal_ones():
    assert key_of(toy_cell(product())) == key_of(toy_cell(product()))
    keys = {key_of(toy_cell(product())), key_of(toy_cell(product(), 80))}
    keys |= {key_of(toy_cell(row_product(4, 128))), key_of(toy_cell(row_product(8, 128)))}
    assert len(keys) == 4
    by_name = {c.kernel: key_of(c) for c in cells({"self block": PLANS["self block"]}, (80,)) if c.frames == 5}
    cross = {c.kernel: key_of(c) for c in cells({"cross block": PLANS["cross block"]}, (80,)) if c.frames == 5}
    assert by_name["mlp"] == cross["mlp"]
    assert by_name["attend"] != cross["attend"]


def test_a_stopped_run_goes_on(tmp_path):
    path, made = tmp_path / "new" / "results.jsonl", []

    def compiler(cell):
        made.append(cell.architecture)
        return resources(len(made))

    first = Results(path)
    first.make(toy_cell(product()), compiler)
    first.make(toy_cell(product()), compiler)
    assert made == [90]
    # The process was stopped while it wrote its second line.
    path.write_text(path.read_text() + json.dumps({"key": "half"})[:-4])
    again = Results(path)
    assert again.get(toy_cell(product())) == resources(1)
    assert again.get(toy_cell(product(), 80)) is None
    again.make(toy_cell(product(), 80), compiler)
    last = Results(path)
    assert [last.get(toy_cell(product(), a)) for a in (90, 80)] == [resources(1), resources(2)]


@pytest.mark.parametrize("launch", [row_product(4, 128), product()], ids=["rows", "product"])
def test_amd_binaries_are_read(launch):
    found = compile_for_amd(launch)
    assert found.architecture == GFX942
    assert found.registers > 4
    assert not found.spills
    assert (found.tensor_core > 0) == (launch.kernel.__name__ != "row_product_kernel")

"""Compiling all kernels for all architectures: what is covered, and resuming after an interruption."""

import json

import pytest
import torch

from spikevrt_kernels.proof.compile_all import (
    ARCHITECTURES,
    Cell,
    Result,
    Results,
    cells,
    compile_side_by_side,
    key_of,
    work_key,
)
from spikevrt_kernels.proof.compiler import GFX942, Assembled, Resources, compile_for_amd
from spikevrt_kernels.proof.roofline import Work
from spikevrt_kernels.registry import PLANS
from tests.toy_kernels import exponentials, product, row_product

WORK = Work(3.0, 2.0, 1.0)


def result(seconds=1.0, work=WORK):
    assembled = (Assembled("12.8.93", 100, 0), Assembled("13.1.80", 102, 8))
    return Result(Resources("kernel", 90, 4, 100, 0, 1024, 0, 0, 8, 4, seconds, 3, assembled), work)


def toy_cells():
    """Made anew in every process."""
    return toy_cell(product(), 80), toy_cell(row_product(4, 128), 80, counted=True)


def toy_cell(launch, architecture=90, counted=False):
    return Cell("toy", "product", architecture, 5, torch.float16, launch, counted)


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


def test_cells_of_one_binary_that_do_different_work_have_different_results():
    few, many = (toy_cell(exponentials(tiles, 16, 16)) for tiles in (16, 32))
    assert key_of(few) == key_of(many)
    assert work_key(few) != work_key(many)
    assert work_key(few) != work_key(toy_cell(exponentials(16, 16, 32)))
    assert work_key(few) == work_key(toy_cell(exponentials(16, 16, 16)))


def test_a_binary_is_compiled_once_for_resources_and_once_more_for_other_work(tmp_path):
    few, many = (toy_cell(exponentials(tiles, 16, 16), counted=True) for tiles in (16, 32))
    plain = toy_cell(exponentials(64, 16, 16))
    results = Results(tmp_path / "results.jsonl")
    assert results.missing([few, many, plain, few]) == [0, 1]
    results.keep(few, result())
    assert results.missing([few, many, plain]) == [1]
    assert Results(results.path).get(plain) == result()
    assert Results(results.path).get(many) is None


def test_a_stopped_run_goes_on(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    every = [toy_cell(product()), toy_cell(product()), toy_cell(product(), 80)]
    first = Results(path)
    assert first.missing(every) == [0, 2], "two are the same"
    first.keep(every[0], result(1))
    # The process was stopped while it wrote its second line.
    path.write_text(path.read_text() + json.dumps({"keys": ["half"]})[:-4])
    again = Results(path)
    assert again.get(every[1]) == result(1)
    assert again.missing(every) == [2]
    again.keep(every[2], result(2, None))
    last = Results(path)
    assert [last.get(cell) for cell in every] == [result(1), result(1), result(2, None)]


@pytest.mark.parametrize("processes", [1, 2])
def test_cells_are_compiled_side_by_side(processes):
    found = compile_side_by_side(toy_cells, [1, 0], processes)
    names = {cell.launch.kernel.__name__: result for cell, result in found}
    assert names["product_kernel"].resources.tensor_core > 0
    assert names["product_kernel"].work is None, "nobody asked for it"
    assert names["row_product_kernel"].work.float32 > 0


@pytest.mark.parametrize("launch", [row_product(4, 128), product()], ids=["rows", "product"])
def test_amd_binaries_are_read(launch):
    found = compile_for_amd(launch)
    assert found.architecture == GFX942
    assert found.registers > 4
    assert not found.spills
    assert (found.tensor_core > 0) == (launch.kernel.__name__ != "row_product_kernel")

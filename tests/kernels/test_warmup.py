"""Kernels compiled in advance in other processes: the launcher finds them on disk, and failures cost one line."""

import os
import time

import pytest
import torch

from spikevrt_kernels.checks.needed import needed_launches
from spikevrt_kernels.core.assembler import point_triton_at
from spikevrt_kernels.core.case import mixed, run_case
from spikevrt_kernels.core.keys import by_key
from spikevrt_kernels.proof.no_launch import no_launch
from spikevrt_kernels.temporal_block.spec import temporal_block_case
from spikevrt_kernels.warmup import compile_all
from spikevrt_kernels.window_attention.spec import window_attention_case
from tests.toy_kernels import impossible, product, row_product

CPU = torch.device("cpu")
HALF = mixed(torch.bfloat16)
CASES = (
    temporal_block_case((1, 16, 2, 2, 4, 4), 2, 1),
    window_attention_case((1, 2, 6, 6), 16, 1, (2, 4, 4), (1, 2, 2), mutual=True),
)


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    """Nothing on disk, and nothing that earlier tests left in this process: a fresh one asks its assembler itself."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    point_triton_at(None)
    yield
    point_triton_at(None)


class Answer:
    """An option that makes the process that reads it do something."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def test_real_tensors_find_what_was_compiled_for_tensors_without_storage():
    launches = needed_launches(CASES, HALF)
    count = 0

    def done():
        nonlocal count
        count += 1

    assert compile_all(launches, 90, processes=2, done=done) == []
    assert count == len(by_key(launches))
    with no_launch(90) as record:
        for case in CASES:
            inputs = case.inputs(HALF, CPU)
            out = run_case(case, "triton", inputs, HALF.autocast, None).out
            run_case(case, "triton", inputs, HALF.autocast, torch.ones_like(out))
    assert len(record.launches) == len(launches)
    assert record.compiled == []


def test_a_compiler_that_fails_dies_or_hangs_costs_its_own_kernel():
    dying = product()._replace(options={"num_warps": Answer(os._exit, 3)})
    hanging = product()._replace(options={"num_warps": Answer(time.sleep, 3600)})
    failed, *ended = compile_all([impossible(), hanging, dying, row_product(4, 128)], 80, processes=1, seconds=5)
    assert failed.startswith("impossible_kernel: CompilationError: ")
    assert "\n" not in failed
    assert ended == ["product_kernel: gave no answer within 5 s", "product_kernel: ends with code 3"]
    with no_launch(80) as record:
        launch = row_product(4, 128).without_tensors()
        launch.kernel.warmup(grid=(1,), **launch.arguments, **launch.options)
    assert record.compiled == [], "compiled by the last process, for the architecture that was asked for"


def test_an_interrupt_does_not_wait_for_the_rest():
    def done():
        raise KeyboardInterrupt

    sleeping = [product()._replace(options={"num_warps": Answer(time.sleep, 3600 + i)}) for i in range(3)]
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        compile_all([row_product(4, 128), *sleeping], 90, processes=1, done=done)
    assert time.monotonic() - start < 600


def test_nothing_to_compile_starts_no_process(monkeypatch):
    monkeypatch.setattr("spikevrt_kernels.warmup.run_jobs", None)
    assert compile_all([], 90) == []

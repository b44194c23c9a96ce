"""Launches without Triton's launcher: the same binary for the same kinds of arguments, and never a wrong one."""

import pytest
import torch
import triton
from triton.runtime import driver

from spikevrt_kernels.core import bound
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.proof.no_launch import no_launch
from tests.toy_kernels import row_product_kernel, weighted_sum_kernel


@pytest.fixture
def record():
    with no_launch() as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(bound, "BINARIES", {})


def row_product(x, out=None, rows=2, **options):
    arguments = {"x_ptr": x, "out_ptr": torch.empty_like(x) if out is None else out, "N": x.shape[1], "ROWS": rows}
    return Launch(row_product_kernel, (1,), arguments | {"BLOCK": 16}, {"num_warps": 1} | options)


def binaries(*launches):
    """The binaries that Triton itself takes for some launches."""
    return [x.kernel[x.grid](**x.arguments, **x.options) for x in launches]


def taken(launch):
    """The binary by which a launch runs, and what that was given."""
    seen = []
    launch.run()  # the first time through Triton
    (binary,) = bound.BINARIES.values()
    plain, binary._run = binary.run, lambda *given: seen.append(given)
    launch.run()
    binary._run = plain
    return binary, seen[0]


def test_the_second_launch_is_the_first_one_again(record):
    x = torch.zeros(2, 64)
    launch = row_product(x)
    binary, given = taken(launch)
    assert binary is binaries(launch)[0]
    grid, (stream, function, metadata, *hooks), values = given[:3], given[3:9], given[9:]
    assert grid == (1, 1, 1)
    assert (stream, function, metadata) == (0, binary.function, binary.packed_metadata)
    assert hooks == [None, None, None]
    assert values[0] is x
    assert list(values[2:]) == [64, 2, 16]


def test_each_launch_is_counted_however_it_goes(record):
    launch = row_product(torch.zeros(2, 64))
    for _ in range(3):
        launch.run()
    assert [x.kernel for x in record.launches] == ["row_product_kernel"] * 3


VARIANTS = {
    "another alignment": lambda: row_product(torch.zeros(129)[1:].view(2, 64)),
    "another alignment of the output": lambda: row_product(torch.zeros(2, 64), torch.zeros(129)[1:].view(2, 64)),
    "another type": lambda: row_product(torch.zeros(2, 64, dtype=torch.bfloat16)),
    "another size": lambda: row_product(torch.zeros(2, 63)),
    "another constant": lambda: row_product(torch.zeros(3, 64), rows=3),
    "other warps": lambda: row_product(torch.zeros(2, 64), num_warps=2),
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_what_would_be_specialised_otherwise_takes_its_own_binary(record, variant):
    usual, other = row_product(torch.zeros(2, 64)), variant()
    for launch in (usual, other, usual, other):
        launch.run()
    assert len(bound.BINARIES) == 2
    assert list(bound.BINARIES.values()) == binaries(usual, other)
    assert binaries(usual)[0] is not binaries(other)[0]


@pytest.mark.parametrize("numbers", [(1, True), (2, 2.0)])
def test_equal_numbers_of_different_types_are_different(record, numbers):
    x = torch.zeros(64)
    arguments = {"x_ptr": x, "weight_ptr": x, "out_ptr": x, "count_ptr": x.int(), "STEP": 1, "BLOCK": 16}
    keys = [bound.key_of(weighted_sum_kernel, 0, arguments | {"N": n}, {}) for n in numbers]
    assert len(set(keys)) == 2


def test_another_device_takes_its_own_binary():
    launch, found = row_product(torch.zeros(2, 64)), []
    for architecture in (90, 80):
        with no_launch(architecture):
            launch.run()
            launch.run()
            found.append(driver.active.get_current_target().arch)
    assert [b.metadata.target.arch for b in bound.BINARIES.values()] == found


def test_a_tensor_among_the_numbers_goes_through_triton(record):
    launch = row_product(torch.zeros(2, 64))
    arguments = {**launch.arguments, "N": torch.tensor(64)}
    assert bound.key_of(launch.kernel, 0, arguments, launch.options) is None


def test_hooks_are_served_by_triton(record):
    launch, seen, chain = row_product(torch.zeros(2, 64)), [], triton.knobs.runtime.launch_enter_hook
    binary, given = taken(launch)
    assert chain not in given
    binary._run = lambda *given: seen.append(given)
    hook = seen.append
    chain.add(hook)
    try:
        launch.run()
    finally:
        chain.remove(hook)
    assert any(x is chain for x in seen[0])


def test_a_full_table_begins_anew(record, monkeypatch):
    monkeypatch.setattr(bound, "MOST", 2)
    launches = [row_product(torch.zeros(2, n)) for n in (16, 32, 48)]
    for launch in launches:
        launch.run()
    assert len(bound.BINARIES) == 1

"""The page on all kernels: bounds by term, and facts about binaries."""

from functools import partial

import pytest
import torch

from bench.without_gpu.declared import FORWARD, declared_along_time, declared_in_windows
from bench.without_gpu.page import bounds_table, executed_table, resource_header, resource_line
from bench.without_gpu.traffic import bound_cells
from bench.workloads.temporal import ATTENTION, SELF
from bench.workloads.windows import FULL_SIZE, WINDOW_KINDS
from bench.workloads.workload import DIRECTIONS
from spikevrt_kernels.proof.compile_all import Cell
from spikevrt_kernels.proof.compiler import Assembled, Resources
from spikevrt_kernels.proof.roofline import GPUS, TERMS, Work
from tests.toy_kernels import product

H100, A6000 = (next(gpu for gpu in GPUS if gpu.name == name) for name in ("H100 SXM", "RTX A6000"))


def test_instructions_bind_window_attention():
    """At head width 16: 174 of them a tile of 64 x 32 scores, where products need 32 clocks and exponentials 136."""
    declared = declared_in_windows(WINDOW_KINDS["official-self"], FULL_SIZE, FORWARD)
    bound = declared.bound(H100, declared.work(90))
    assert bound.limit == "issue"
    # 1,024 windows of 6 heads and 6 x 12 tiles, which 132 multiprocessors issue a warp a scheduler.
    tiles = 1024 * 6 * 6 * 12 / (132 * 1.83e9)
    assert 174 * tiles < bound.issue < 1.2 * 174 * tiles
    assert 136 * tiles <= bound.exponentials < 1.02 * 136 * tiles
    assert bound.memory < 0.3 * bound.seconds
    assert bound.seconds < declared.bound(A6000, declared.work(86)).seconds


TIME_SHAPE = (1, 96, 5, 16, 16)
LAUNCHES = {
    "attention": (partial(declared_along_time, ATTENTION, TIME_SHAPE), {"forward"}, {"backward"}),
    "block": (
        partial(declared_along_time, SELF, TIME_SHAPE),
        {"block"},
        {"bwd_dy", "bwd_mlp", "bwd_attend", "bwd_project_3"},
    ),
    "windows": (
        partial(declared_in_windows, WINDOW_KINDS["mutual"], 16),
        {"bias", "forward", "mutual_forward"},
        {"bias_for_backward", "query_backward", "key_backward", "table_backward", "mutual_backward"},
    ),
}


@pytest.mark.parametrize(("declared", "forward", "backward"), LAUNCHES.values(), ids=LAUNCHES)
def test_the_launches_of_a_direction_are_those_that_its_cost_declares(declared, forward, backward):
    found = {direction: declared(direction) for direction in DIRECTIONS}
    names = {direction: set(one.launches(90)) for direction, one in found.items()}
    assert names == {FORWARD: forward, DIRECTIONS[1]: forward | backward}
    assert {direction: one.cost.launches for direction, one in found.items()} == {d: len(n) for d, n in names.items()}


def test_the_term_that_binds_is_marked_and_what_is_not_compiled_is_a_dash():
    works = {
        (cell.operator, cell.kernel, 90): Work(1e12, 1.0, 1.0) for cell in bound_cells() if cell.architecture == 90
    }
    lines = bounds_table(works).splitlines()
    assert lines[0].split(" | ")[-len(TERMS) :] == ["memory", "tensor", "exponentials", "float32", "issue", "host |"]
    assert len(lines) == 2 + 11 * len(DIRECTIONS) * len(GPUS)
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")][2:]
        if "H100" in line:
            assert [cell.startswith("**") for cell in cells] == [name == "issue" for name in TERMS]
        else:
            assert cells == ["-"] * len(TERMS)
    assert len(executed_table(works).splitlines()) == 2 + len(works)


def test_a_line_of_resources_has_both_assemblers_on_sm_90_alone():
    both = (Assembled("12.8.93", 197, 0), Assembled("13.1.80", 199, 8))
    found = Resources("kernel", 90, 4, 197, 0, 1024, 0, 0, 46, 4, 1.5, 18, both)
    line = resource_line(Cell("toy", "product", 90, 5, torch.bfloat16, product()), found)
    assert line[-4:] == ["1.5", "18", "197 / 0", "199 / 8"]
    assert len(line) == len(resource_header())
    elsewhere = Resources("kernel", 80, 4, 197, 0, 1024, 0, 0, 46, 4, 1.5)
    line = resource_line(Cell("toy", "product", 80, 5, torch.bfloat16, product()), elsewhere)
    assert line[-4:] == ["1.5", "-", "-", "-"]

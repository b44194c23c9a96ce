"""Counted bytes of PyTorch's operators against sums by hand."""

import torch
from torch.nn import functional as F

from spikevrt_kernels.core.operator import Cost
from spikevrt_kernels.proof.memory import without_storage
from spikevrt_kernels.proof.operator_counter import count_operators, count_saved, tensor_bytes


def test_bytes_in_and_out_without_views():
    x, w = torch.randn(10, 8), torch.randn(8, 4)
    with count_operators() as traffic:
        (x.t().t() @ w).view(5, 8).add_(1)
    assert traffic.launches == 2
    assert traffic.by_operator == {"aten::mm": 4 * (80 + 32 + 40), "aten::add_": 4 * 80}
    assert traffic.bytes == sum(traffic.by_operator.values())


def test_backward_passes_are_counted():
    w = torch.randn(8, 8, requires_grad=True)
    with count_operators() as traffic:
        (torch.randn(4, 8) @ w).sum().backward()
    assert traffic.by_operator["aten::mm"] == 4 * (32 + 64 + 32) + tensor_bytes(torch.ones(()).expand(4, 8)) + 4 * 96


def test_an_expanded_axis_counts_once():
    assert tensor_bytes(torch.ones(1, 5).expand(100, 5)) == 20
    assert tensor_bytes(torch.ones(0, 3)) == 0


def test_of_rows_that_an_index_picks_only_those_count():
    x, index = torch.zeros(100, 8), torch.arange(3)
    with count_operators() as traffic:
        x.index_copy_(0, index, x.index_select(0, index))
    rows = 8 * 3 + 2 * 4 * 3 * 8  # the index, and three rows read and written
    assert traffic.by_operator == {"aten::index_select": rows, "aten::index_copy_": rows}


def test_tensors_without_storage_count_as_others_do():
    def step():
        x, w = torch.zeros(16, 8, requires_grad=True), torch.zeros(4, 8, requires_grad=True)
        with count_operators() as traffic, count_saved(w) as sizes:
            F.linear(x, w).relu().sum().backward()
            assert x.device.type == "cpu"
        return traffic, sizes

    with without_storage():
        fake = step()
    assert fake == step()


def test_a_custom_operator_counts_as_declared():
    with count_operators({"aten::mm": lambda a, b: Cost(7, 3)}) as traffic:
        torch.randn(2, 2) @ torch.randn(2, 2)
        torch.ones(3).neg()
    assert traffic.by_operator["aten::mm"] == 7
    assert traffic.launches == 2 + 3 + 2  # two randn, the product, ones and neg


def test_saved_bytes_count_a_storage_once_and_parameters_never():
    x, w = torch.randn(16, 8, requires_grad=True), torch.randn(4, 8, requires_grad=True)
    with count_saved(w) as sizes:
        hidden = F.linear(x, w)
        (hidden * hidden.relu()).sum()
    # x for the product, hidden and its relu.
    assert sorted(sizes) == sorted([4 * 128, 4 * 64, 4 * 64])

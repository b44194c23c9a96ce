"""The calls of a run: what each moves, multiplies and launches, and equal ones as one."""

import torch

from spikevrt_kernels.core.case import pure
from spikevrt_kernels.core.launch import repeatable
from spikevrt_kernels.norm_linear.spec import norm_linear_case
from spikevrt_kernels.proof.calls import Calls
from spikevrt_kernels.proof.flops import OWN
from spikevrt_kernels.proof.memory import without_storage
from spikevrt_kernels.registry import DECLARED


def test_every_operator_that_declares_bytes_says_what_it_multiplies():
    assert set(DECLARED) - set(OWN) == {"spikevrt::warp_pairs", "spikevrt::warp_pairs_backward"}, "these only gather"


def test_equal_calls_are_one_with_their_launches():
    case, calls = norm_linear_case((2, 300, 48), 144), Calls(90)
    with without_storage(for_cuda=True):
        inputs = [x.requires_grad_() for x in case.inputs(pure(torch.bfloat16), torch.device("cpu"))]
        with calls.count(DECLARED, lambda: "") as traffic:
            outs = [case.run(inputs, "triton") for _ in range(3)]
            torch.autograd.grad(outs[0], inputs, torch.empty_like(outs[0]))
    times = {call.operator: (call, count) for call, count in calls.times.items()}
    forward, count = times["spikevrt::norm_linear"]
    assert (count, forward.flops, forward.launches, len(forward.kernels)) == (3, 2 * 600 * 48 * 144, 1, 1)
    assert forward.bytes == 2 * 600 * (48 + 144)
    backward, count = times["spikevrt::norm_linear_backward"]
    assert (count, backward.flops, len(backward.kernels)) == (1, 2 * forward.flops, backward.launches)
    assert set(calls.launches) == {*forward.kernels, *backward.kernels}
    assert traffic.bytes == sum(count * call.bytes for call, count in calls.times.items())


def test_pytorchs_products_count_too():
    calls = Calls(90)
    with calls.count({}, lambda: ""):
        torch.ones(3, 4) @ torch.ones(4, 5)
    (product,) = (call for call in calls.times if call.operator == "aten::mm")
    assert (product.flops, product.bytes, product.kernels) == (2 * 3 * 4 * 5, 4 * (12 + 20 + 15), ())


def test_equal_work_is_noted_each_time():
    @repeatable
    def doubled(x):
        return x * 2

    calls = Calls(90)
    with without_storage(for_cuda=True), calls.count(DECLARED, str):
        for _ in range(3):
            doubled(torch.empty(4))
    assert [(call.operator, times) for call, times in calls.times.items()] == [("aten::mul", 3)]

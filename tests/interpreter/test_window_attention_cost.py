"""Fused window attention reads and writes the bytes that it declares, for three shapes, and at the model's size."""

import pytest
import torch

from spikevrt_kernels.core.tuned import trying
from spikevrt_kernels.proof.byte_counter import count_bytes
from spikevrt_kernels.proof.operator_counter import count_operators
from spikevrt_kernels.window_attention.spec import DECLARED, backward_cost, forward_cost
from tests.interpreter.test_window_attention import PAIRS, attend, make_inputs, two_windows_a_program

FEATURES = ("qkv_ptr", "out_ptr", "grad_ptr", "dqkv_ptr")
CASES = {  # as in test_window_attention
    "self-shifted": ((1, 3, 2, 3), 2, 5, (2, 2, 2), (1, 0, 1), False),
    "self-tiles": ((1, 2, 7, 6), 1, 16, (2, 7, 6), (0, 0, 0), False),
    "mutual-padded": ((1, 3, 2, 2), 2, 4, (2, 2, 2), (1, 0, 0), True),
}


@pytest.mark.parametrize("added", [False, True], ids=["", "added"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_declared_bytes_and_launches_are_those_of_the_interpreter(case, added):
    inputs, arguments = make_inputs(case, torch.float32)
    mutual, window = case[5], arguments[1]
    with count_bytes() as launches, count_operators(DECLARED) as traffic:
        out = attend("triton", inputs, arguments, added)
    declared = forward_cost(*inputs[:2], mutual)
    assert (sum(k.total(*FEATURES) for k in launches), len(launches)) == declared
    assert traffic.by_operator["spikevrt::window_attention"] == declared.bytes
    with count_bytes() as launches, count_operators(DECLARED) as traffic:
        torch.autograd.grad(out, inputs, torch.randn_like(out))
    declared = backward_cost(*inputs[:2], mutual, window)
    assert (sum(k.total(*FEATURES) for k in launches), len(launches)) == declared
    assert traffic.by_operator["spikevrt::window_attention_backward"] == declared.bytes
    assert all(t.atomics == 0 for k in launches for t in k.tensors.values())


@pytest.mark.parametrize("name", ["self-inner", "self-clips"])
def test_two_windows_a_program_move_the_same_bytes(name):
    """There are three windows, so the last program has one; the others read their bias once for two."""
    inputs, arguments = make_inputs(PAIRS[name], torch.float32)
    with count_bytes() as single:
        attend("triton", inputs, arguments)
    with trying(two_windows_a_program(inputs, arguments)), count_bytes() as paired:
        attend("triton", inputs, arguments)
    assert sum(k.total(*FEATURES) for k in paired) == forward_cost(*inputs[:2], False).bytes
    assert 3 * paired[1].programs == 2 * single[1].programs
    assert 3 * paired[1].total("bias_ptr") == 2 * single[1].total("bias_ptr")

"""Window attention's float32 CPU kernels against the same function in float64, computed by another path."""

import os
import subprocess
import sys

import pytest
import torch
from torch._subclasses import FakeTensorMode

from spikevrt_kernels.proof.operator_counter import count_operators
from spikevrt_kernels.window_attention import sdpa
from spikevrt_kernels.window_attention.cpu import threads as cpu
from spikevrt_kernels.window_attention.cpu import vectors
from spikevrt_kernels.window_attention.cpu.vectors import LANES
from spikevrt_kernels.window_attention.windows import Cut

if cpu.held_vectors() is None:
    pytest.skip("the kernels need a processor with AVX2 and FMA", allow_module_level=True)

CASES = {
    "mutual-shifted-padded": ((1, 5, 9, 13), 12, Cut(3, (2, 4, 4), (1, 2, 2), True)),
    "odd-window": ((2, 3, 7, 9), 20, Cut(1, (3, 5, 5), (1, 2, 2), False)),
    "fewer-tokens-than-lanes": ((1, 2, 4, 6), 6, Cut(2, (1, 2, 3), (0, 1, 1), False)),
    "many-keys": ((1, 6, 16, 8), 40, Cut(2, (6, 8, 8), (0, 4, 0), False)),
}
CASES_OF = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
EPS = torch.finfo(torch.float32).eps


def inputs(case):
    """qkv, offsets, bias, cut, and a gradient of the result."""
    size, channels, cut = case
    torch.manual_seed(0)
    tokens, width = cut.window[0] * cut.window[1] * cut.window[2], (6 if cut.mutual else 3) * channels
    drawn = torch.randn(*size, width), torch.randn(tokens, width), torch.randn(cut.heads, tokens, tokens)
    return *drawn, cut, torch.randn(*size, width // 3)


def close(found, wanted):
    """Within what PyTorch's own kernels reach on such data, twice."""
    return (found - wanted).norm() <= 8 * EPS * wanted.norm()


def require_float64s_results(case):
    """The result and all gradients are those of PyTorch in float64."""
    qkv, offsets, bias, cut, grad = inputs(case)
    found = cpu.attend_cpu(qkv, offsets, bias, cut)
    assert close(found, sdpa.attend(qkv.double(), offsets.double(), bias.double(), cut))
    gradients = cpu.differentiate_cpu(grad, qkv, offsets, bias, cut)
    exact = sdpa.differentiate(grad.double(), qkv.double(), offsets.double(), bias.double(), cut)
    assert all(close(x, y) for x, y in zip(gradients, exact, strict=True))


@CASES_OF
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_result_and_gradients_equal_float64(case, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    require_float64s_results(case)


WITH_FEWER_REGISTERS = """
from spikevrt_kernels.window_attention.cpu import vectors
from spikevrt_kernels.window_attention.windows import Cut
from tests.kernels.test_window_attention_cpu import require_float64s_results

assert vectors.held_vectors() == vectors.Held(columns=6, keys=4)
require_float64s_results(((1, 2, 4, 6), 8, Cut(1, (1, 3, 3), (0, 1, 1), False)))
"""


def test_a_processor_without_avx512_runs_the_same_kernels():
    """Numba compiles here for a processor with AVX2 and FMA, whose 16 registers hold 8 floats."""
    features = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+sse4.2", "OMP_NUM_THREADS": "1"}
    environment = os.environ | features | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", WITH_FEWER_REGISTERS], env=environment, check=True)


@pytest.mark.parametrize(("features", "held"), [({"avx2"}, False), ({"avx2", "fma"}, True), ({"avx512f"}, True)])
def test_kernels_need_fused_multiply_adds_of_eight_floats(features, held, monkeypatch):
    monkeypatch.setattr(vectors, "compiles_for", lambda *wanted: features >= set(wanted))
    assert (vectors.held_vectors() is not None) is held
    qkv, _, _, cut, _ = inputs(CASES["odd-window"])
    assert cpu.suits_cpu(qkv, cut) is held


@CASES_OF
def test_strided_maps_are_taken(case):
    qkv, offsets, bias, cut, grad = inputs(case)
    strided = qkv.transpose(1, 2).contiguous().transpose(1, 2)
    other = grad.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(cpu.attend_cpu(strided, offsets, bias, cut), cpu.attend_cpu(qkv, offsets, bias, cut))
    pairs = zip(
        cpu.differentiate_cpu(other, strided, offsets, bias, cut),
        cpu.differentiate_cpu(grad, qkv, offsets, bias, cut),
        strict=True,
    )
    assert all(torch.equal(x, y) for x, y in pairs)


def test_a_value_that_is_not_a_number_is_not_hidden():
    qkv, offsets, bias, cut, _ = inputs(CASES["many-keys"])
    qkv[0, 0, 0, 0, 0] = float("nan")
    assert cpu.attend_cpu(qkv, offsets, bias, cut).isnan().any()


def test_scores_far_apart_do_not_overflow():
    qkv, offsets, bias, cut, _ = inputs(CASES["many-keys"])
    found = cpu.attend_cpu(100 * qkv, offsets, bias, cut)
    wanted = sdpa.attend(100 * qkv.double(), offsets.double(), bias.double(), cut)
    assert (found - wanted).norm() < 1e-2 * wanted.norm()


def test_lanes_and_back():
    bias = torch.randn(2, 18, 18)
    lanes = cpu.in_lanes(bias)
    assert lanes.shape == (2, 2, 18, LANES)
    assert lanes[1, 1, 5, 0] == bias[1, 16, 5]
    assert torch.equal(cpu.from_lanes(lanes, 18), bias)


def test_what_counts_or_plans_sees_operators():
    qkv, _, _, cut, _ = inputs(CASES["odd-window"])
    assert cpu.suits_cpu(qkv, cut)
    assert not cpu.suits_cpu(qkv.double(), cut)
    with count_operators():
        assert not cpu.suits_cpu(qkv, cut)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert not cpu.suits_cpu(mode.from_tensor(qkv), cut)

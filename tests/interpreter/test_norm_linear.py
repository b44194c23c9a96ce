"""Layer norm with a linear layer in the interpreter: outputs and gradients against float64, types, bytes."""

import pytest
import torch

from spikevrt_kernels.core import linear_launch, sums
from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.norm_linear import norm_linear
from spikevrt_kernels.norm_linear.spec import DECLARED, FEATURES, backward_cost, forward_cost
from spikevrt_kernels.norm_linear.triton.registered import REGISTERED
from spikevrt_kernels.proof.byte_counter import count_bytes
from spikevrt_kernels.proof.operator_counter import count_operators, count_saved

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3}
SHAPES = {  # shape of x, N, bias
    "48-to-144": ((2, 3, 5, 7, 48), 144, False),
    "120-to-720": ((1, 75, 120), 720, True),
    "180-to-540": ((37, 180), 540, False),
    "480-to-180": ((2, 41, 480), 180, True),
    "23-to-5": ((3, 67, 23), 5, True),
    "1-to-1": ((2, 1), 1, True),
}


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """Few programs share the tiles, so that each walks over several."""
    monkeypatch.setattr(sums, "PROGRAMS", 2)
    monkeypatch.setattr(linear_launch, "LEAST_TILES", 1)


def drawn(shape, N, biased, mean=0.0):
    """Leaves in float64: x, gamma, beta, weight and bias."""
    C = shape[-1]
    leaves = [torch.randn(shape) + mean, 1 + torch.randn(C) * 0.3, torch.randn(C) * 0.3, torch.randn(N, C) * C**-0.5]
    return [x.double().requires_grad_() for x in (*leaves, *([torch.randn(N) * 0.3] if biased else []))]


def as_type(leaves, dtype):
    return [x.detach().to(dtype).requires_grad_() for x in leaves]


def run(leaves, backend):
    x, gamma, beta, weight, *bias = leaves
    return norm_linear(x, (gamma, beta), weight, bias[0] if bias else None, backend)


def with_gradients(leaves, backend, R):
    out = run(leaves, backend)
    return out, *torch.autograd.grad(out, leaves, R.to(out.dtype))


def error(actual, expected):
    return float((actual.detach().double() - expected.detach()).norm() / expected.detach().norm())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda d: str(d).split(".")[1])
def test_forward_and_gradients(dtype, shape):
    leaves = as_type(drawn(*shape), dtype)
    R = torch.randn((*shape[0][:-1], shape[1])).to(dtype)
    found, wanted = with_gradients(leaves, "triton", R), with_gradients(as_type(leaves, torch.float64), "naive", R)
    for name, actual, expected in zip(("out", "x", "gamma", "beta", "W", "b"), found, wanted, strict=False):
        assert actual.dtype == dtype
        # One channel is its own mean: nothing is left of it.
        if expected.norm() > 1e-9:
            assert error(actual, expected) < TOLERANCES[dtype], name
        else:
            assert actual.norm() <= 1e-9


def test_autocast_multiplies_in_half_and_norms_in_the_type_of_sums():
    leaves = drawn((2, 19, 24), 72, True, mean=20.0)
    half = [x.detach().half().float().requires_grad_() for x in leaves]
    R = torch.randn(2, 19, 72)
    with torch.autocast("cpu", torch.float16):
        found = with_gradients(half, "triton", R)
    wanted = with_gradients(as_type(half, torch.float64), "naive", R.half().double())
    assert found[0].dtype == torch.float16
    assert all(g.dtype == torch.float32 for g in found[1:])
    assert all(1e-9 < error(a, b) < 1e-3 for a, b in zip(found[:-1], wanted[:-1], strict=True))


def test_weights_in_half_get_gradients_in_half_and_x_keeps_its_own():
    x, *norm, weight, bias = as_type(drawn((2, 19, 24), 72, True), torch.float32)
    leaves = [x, *norm, *as_type((weight, bias), torch.float16)]
    with torch.autocast("cpu", torch.float16):
        out = run(leaves, "triton")
    found = torch.autograd.grad(out, leaves, torch.ones_like(out))
    assert [g.dtype for g in found] == [x.dtype for x in leaves]


def test_any_strides_and_an_expanded_gradient():
    x = torch.randn(3, 24, 5, dtype=torch.float64).transpose(1, 2)
    leaves = [x.requires_grad_(), *drawn((3, 5, 24), 8, True)[1:]]
    R = torch.ones((), dtype=torch.float64).expand(3, 5, 8)
    found, wanted = (with_gradients(leaves, backend, R) for backend in ("triton", "naive"))
    assert all(error(a, b) < 1e-12 for a, b in zip(found, wanted, strict=True))


def test_gradcheck():
    leaves = drawn((3, 4), 2, True)
    assert torch.autograd.gradcheck(lambda *leaves: run(leaves, "triton"), leaves)


@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
def test_opcheck(biased):
    x, gamma, beta, weight, *bias = as_type(drawn((2, 3, 8), 6, biased), torch.float32)
    torch.library.opcheck(REGISTERED.forward, (x, gamma, beta, weight, bias[0] if bias else None, torch.float32))


COUNTED = {  # rows, C, N; units of C forward and backward, at most
    "96-to-288": (40, 96, 288, 4, 12),
    "120-to-720": (33, 120, 720, 7, 21),
    "180-to-540": (40, 180, 540, 4, 12),
    "240-to-60": (40, 240, 60, 1.25, 4.75),
}


@pytest.mark.parametrize("case", COUNTED.values(), ids=COUNTED)
def test_declared_bytes_are_those_of_the_interpreter(case, within):
    rows, C, N, forward_units, backward_units = case
    leaves = as_type(drawn((rows, C), N, False), torch.float16)
    x, unit = leaves[0], 2 * rows * C
    with count_bytes() as launches, count_operators(DECLARED) as traffic, count_saved(*leaves[1:]) as saved:
        out = run(leaves, "triton")
    moved = sum(k.total(*FEATURES) for k in launches)
    assert (moved, len(launches)) == forward_cost(x, N, torch.float16)
    assert traffic.by_operator["spikevrt::norm_linear"] == moved
    within(f"norm and linear {C} to {N} forward, units", moved / unit, forward_units)
    assert saved == [unit]
    with count_bytes() as launches, count_operators(DECLARED) as traffic:
        torch.autograd.grad(out, leaves, torch.randn_like(out))
    moved = sum(k.total(*FEATURES) for k in launches)
    assert (moved, len(launches)) == backward_cost(x, N, torch.float16)
    assert traffic.by_operator["spikevrt::norm_linear_backward"] == moved
    within(f"norm and linear {C} to {N} backward, units", moved / unit, backward_units)
    assert all(t.atomics == 0 for k in launches for t in k.tensors.values()), "weight gradients are deterministic"


def test_what_cannot_run_raises_a_sentence():
    with pytest.raises(BackendError, match="norm_linear: attention backend triton cannot run: bfloat16 is not one of"):
        run(as_type(drawn((2, 8), 4, False), torch.bfloat16), "triton")

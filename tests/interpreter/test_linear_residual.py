"""A residual linear branch in the interpreter: outputs and gradients against float64, drop path, types, bytes."""

import pytest
import torch

from spikevrt_kernels.core import linear_launch, sums
from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.linear_residual import linear_residual
from spikevrt_kernels.linear_residual.spec import DECLARED, FEATURES, backward_cost, forward_cost
from spikevrt_kernels.linear_residual.triton.registered import REGISTERED
from spikevrt_kernels.proof.byte_counter import count_bytes
from spikevrt_kernels.proof.operator_counter import count_operators, count_saved

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3}
SHAPES = {  # shape of x, K, bias, drop path
    "48-from-96": ((3, 2, 5, 7, 48), 96, True, True),
    "120-from-120": ((1, 75, 120), 120, True, False),
    "180-from-360": ((2, 23, 180), 360, False, True),
    "23-from-5": ((3, 67, 23), 5, False, False),
    "1-from-1": ((2, 1), 1, True, True),
}


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """Few programs share the tiles, so that each walks over several."""
    monkeypatch.setattr(sums, "PROGRAMS", 2)
    monkeypatch.setattr(linear_launch, "LEAST_TILES", 1)


def drawn(shape, K, biased, dtype=torch.float64):
    """Leaves: x, o, weight and bias."""
    C = shape[-1]
    leaves = [torch.randn(shape), torch.randn(*shape[:-1], K), torch.randn(C, K) * K**-0.5]
    return [x.to(dtype).requires_grad_() for x in (*leaves, *([torch.randn(C) * 0.3] if biased else []))]


def dropped(samples):
    """Drop path's factors; the first sample skips the branch."""
    return torch.tensor([0.0, *[1.25] * (samples - 1)])


def run(leaves, scale, backend):
    x, o, weight, *bias = leaves
    return linear_residual(x, o, weight, bias[0] if bias else None, scale, backend)


def with_gradients(leaves, scale, backend, R):
    out = run(leaves, scale, backend)
    return out, *torch.autograd.grad(out, leaves, R.to(out.dtype))


def error(actual, expected):
    return float((actual.detach().double() - expected.detach()).norm() / expected.detach().norm())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda d: str(d).split(".")[1])
def test_forward_and_gradients(dtype, shape):
    size, K, biased, drops = shape
    leaves, scale = drawn(size, K, biased, dtype), dropped(size[0]) if drops else None
    R = torch.randn(size).to(dtype)
    found = with_gradients(leaves, scale, "triton", R)
    wanted = with_gradients([x.detach().double().requires_grad_() for x in leaves], scale, "naive", R)
    for name, actual, expected in zip(("out", "x", "o", "W", "b"), found, wanted, strict=False):
        assert actual.dtype == dtype
        assert error(actual, expected) < TOLERANCES[dtype], name


def test_a_dropped_sample_is_x_itself_and_gives_its_branch_nothing():
    leaves, scale = drawn((3, 5, 24), 48, True, torch.float16), dropped(3)
    out, dx, do, *_ = with_gradients(leaves, scale, "triton", torch.ones(3, 5, 24))
    assert torch.equal(out[0], leaves[0][0])
    assert torch.equal(dx, torch.ones_like(dx))
    assert do[0].count_nonzero() == 0
    assert do[1].count_nonzero() > 0


def test_autocast_multiplies_in_half_and_rounds_the_sum_once_in_the_type_of_x():
    x, o, weight, bias = drawn((2, 19, 24), 48, True, torch.float32)
    o = o.detach().half().requires_grad_()
    leaves, scale = [x, o, weight.detach().half().float().requires_grad_(), bias], dropped(2)
    with torch.autocast("cpu", torch.float16):
        found = with_gradients(leaves, scale, "triton", torch.ones(2, 19, 24))
    exact = [t.detach().double().requires_grad_() for t in leaves]
    wanted = with_gradients(exact, scale, "naive", torch.ones(2, 19, 24))
    assert [t.dtype for t in found] == [torch.float32, *(t.dtype for t in leaves)]
    assert error(found[0], wanted[0]) < 1e-6, "both factors are exact in half, and the sum is kept in float32"
    assert all(error(a, b) < 1e-3 for a, b in zip(found, wanted, strict=True))


def test_any_strides_and_an_expanded_gradient():
    weight, bias = drawn((3, 5, 24), 8, True)[2:]
    turned = [torch.randn(3, n, 5, dtype=torch.float64).transpose(1, 2).requires_grad_() for n in (24, 8)]
    R = torch.ones((), dtype=torch.float64).expand(3, 5, 24)
    found, wanted = (with_gradients([*turned, weight, bias], None, backend, R) for backend in ("triton", "naive"))
    assert all(error(a, b) < 1e-12 for a, b in zip(found, wanted, strict=True))


def test_gradcheck():
    leaves, scale = drawn((3, 1, 4), 3, True), dropped(3)
    assert torch.autograd.gradcheck(lambda *leaves: run(leaves, scale, "triton"), leaves)


@pytest.mark.parametrize("full", [False, True], ids=["plain", "biased-scaled"])
def test_opcheck(full):
    x, o, weight, *bias = drawn((2, 3, 8), 6, full, torch.float32)
    torch.library.opcheck(
        REGISTERED.forward, (x, o, weight, bias[0] if full else None, dropped(2) if full else None, torch.float32)
    )


COUNTED = {  # rows of a sample, C, K; units of C forward and backward, at most
    "96-from-96": (20, 96, 96, 3, 5),
    "120-from-240": (17, 120, 240, 4, 7),
    "180-from-360": (20, 180, 360, 4, 7),
    "180-from-180": (20, 180, 180, 3, 5),
}


@pytest.mark.parametrize("case", COUNTED.values(), ids=COUNTED)
def test_declared_bytes_are_those_of_the_interpreter(case, within):
    rows, C, K, forward_units, backward_units = case
    leaves, unit = drawn((2, rows, C), K, True, torch.float16), 2 * 2 * rows * C
    x, o, *parameters = leaves
    scale = dropped(2)
    with count_bytes() as launches, count_operators(DECLARED) as traffic, count_saved(*parameters) as saved:
        out = run(leaves, scale, "triton")
    moved = sum(k.total(*FEATURES) for k in launches)
    assert (moved, len(launches)) == forward_cost(x, o)
    assert traffic.by_operator["spikevrt::linear_residual"] == moved
    within(f"linear and residual {K} to {C} forward, units", moved / unit, forward_units)
    assert sorted(saved) == [scale.nbytes, o.nbytes]
    with count_bytes() as launches, count_operators(DECLARED) as traffic:
        torch.autograd.grad(out, leaves, torch.randn_like(out))
    moved = sum(k.total(*FEATURES) for k in launches)
    assert (moved, len(launches)) == backward_cost(x, o)
    assert traffic.by_operator["spikevrt::linear_residual_backward"] == moved
    within(f"linear and residual {K} to {C} backward, units", moved / unit, backward_units)
    assert all(t.atomics == 0 for k in launches for t in k.tensors.values()), "weight gradients are deterministic"


def test_what_cannot_run_raises_a_sentence():
    with pytest.raises(BackendError, match="linear_residual: attention backend triton cannot run: bfloat16 is not one"):
        run(drawn((2, 8), 4, False, torch.bfloat16), None, "triton")

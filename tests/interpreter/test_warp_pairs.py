"""The input of the offset convolutions in the interpreter: outputs, gradients, bits, bytes, what is not finite."""

import pytest
import torch

from spikevrt_kernels.core.sums import FLOAT_ATOMICS
from spikevrt_kernels.proof.byte_counter import count_bytes
from spikevrt_kernels.proof.operator_counter import count_operators, count_saved
from spikevrt_kernels.warp_pairs import warp_pairs
from spikevrt_kernels.warp_pairs.spec import DECLARED, of_backward, of_forward
from spikevrt_kernels.warp_pairs.triton.registered import REGISTERED
from spikevrt_kernels.warp_pairs.triton.tile_table import TABLE
from tests.program_order import mirrored_programs

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3}
CASES = {  # B, T, H, W, C
    "two clips": (2, 2, 3, 5, 12),
    "three frames, many tiles": (1, 3, 5, 9, 20),
    "four frames, two chunks": (2, 4, 2, 3, 36),
    "one channel, two columns": (1, 2, 4, 2, 1),
}
OTHERS = ("three frames, many tiles", torch.float32), ("two clips", torch.float16)
SMALL = (1, 2, 2, 3, 4)
not_finite = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """The same numbers in every test, and small tiles, so that small images have several."""
    torch.manual_seed(0)
    for kernel, config in TABLE.items():
        monkeypatch.setitem(TABLE, kernel, config._replace(pixels=16))


def drawn(case, dtype=torch.float64):
    """x and flow; some positions are outside."""
    B, T, H, W, C = case
    x = torch.randn(B, T, H, W, C, dtype=torch.float64).to(dtype)
    flow = 1.5 * torch.randn(2 * B * (T - 1), 2, H, W, dtype=torch.float64)
    return [x.requires_grad_(), flow.to(torch.promote_types(dtype, torch.float32)).requires_grad_()]


def gradient_like(x, flow):
    N, _, H, W = flow.shape
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, H, W, 2 * x.shape[-1] + 2, dtype=torch.float64, generator=generator).to(x.dtype)


def run(inputs, backend="triton", R=None):
    """The output and both gradients."""
    out = warp_pairs(*inputs, backend)
    R = gradient_like(*inputs) if R is None else R
    return [out, *torch.autograd.grad(out, inputs, R.to(out.dtype))]


def exactly(inputs, R):
    """The reference in float64 on the same numbers."""
    return run([t.detach().double().requires_grad_() for t in inputs], "naive", R)


def error(actual, expected):
    return float((actual.detach().double() - expected.detach()).norm() / expected.detach().norm())


@pytest.mark.parametrize(("name", "dtype"), [*((name, torch.float64) for name in CASES), *OTHERS])
def test_forward_and_gradients(name, dtype):
    inputs = drawn(CASES[name], dtype)
    found = run(inputs)
    for what, actual, expected, leaf in zip(
        ("out", "dx", "dflow"), found, exactly(inputs, gradient_like(*inputs)), (inputs[0], *inputs), strict=True
    ):
        assert error(actual, expected) < TOLERANCES[dtype], what
        assert actual.dtype == leaf.dtype
        assert actual.is_contiguous()


def test_whose_neighbours_they_are_and_what_stands_beside():
    """Without flow: the pairs in their order, and every number once, unchanged."""
    B, T, H, W, C = 2, 3, 2, 2, 3
    x = torch.arange(B * T * H * W * C, dtype=torch.float32).view(B, T, H, W, C)
    flow = torch.zeros(2 * B * (T - 1), 2, H, W)
    for backend in ("triton", "naive"):
        pairs = warp_pairs(x, flow, backend).view(2, B, T - 1, H, W, 2 * C + 2)
        for direction, (neighbour, frame) in enumerate(((x[:, 1:], x[:, :-1]), (x[:, :-1], x[:, 1:]))):
            wanted = torch.cat((neighbour, frame, torch.zeros(B, T - 1, H, W, 2)), -1)
            assert torch.equal(pairs[direction], wanted), backend


def test_float_atomics_on_request(monkeypatch):
    inputs = drawn(SMALL, torch.float32)
    fixed = run(inputs)
    monkeypatch.setenv(FLOAT_ATOMICS, "1")
    assert error(run(inputs)[1], fixed[1].double()) < 1e-6
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert all(torch.equal(a, b) for a, b in zip(run(inputs), fixed, strict=True)), "fixed point again"


def test_the_same_bits_with_the_programs_in_another_order(monkeypatch):
    inputs = drawn((1, 2, 5, 9, 4), torch.float32)
    wanted = run(inputs)
    order = mirrored_programs(monkeypatch)
    assert all(torch.equal(a, b) for a, b in zip(run(inputs), wanted, strict=True))
    assert max(order) > 0


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_tiny_and_large_gradients(scale):
    inputs = drawn(SMALL, torch.float32)
    R = gradient_like(*inputs)
    found = run(inputs, R=scale * R)
    for actual, expected in zip(found[1:], exactly(inputs, R)[1:], strict=True):
        assert error(actual.double() / scale, expected) < 2e-6


@not_finite
def test_a_position_that_is_not_finite_reads_and_writes_nothing_else():
    inputs = drawn(SMALL, torch.float32)
    wanted = run(inputs)
    for value in (float("nan"), float("inf"), -float("inf"), 1e30, -1e30):
        inputs[1].data[0, 1, 0, 0] = value
        found = run(inputs)
        assert torch.equal(found[0].flatten(0, 2)[1:], wanted[0].flatten(0, 2)[1:])
        assert torch.equal(found[2].flatten(2)[..., 1:], wanted[2].flatten(2)[..., 1:])
        assert found[1].isfinite().all()


@not_finite
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_makes_no_plausible_numbers(value):
    inputs = drawn(SMALL, torch.float32)
    R = gradient_like(*inputs)
    R[0, 1, 1, 2] = value  # of a warped channel
    dx, dflow = run(inputs, R=R)[1:]
    assert dx.isnan().all()
    assert not dflow[0, :, 1, 1].isfinite().any()


def test_gradcheck():
    inputs = drawn((1, 2, 2, 2, 2))
    assert torch.autograd.gradcheck(lambda x, flow: warp_pairs(x, flow, "triton"), inputs, fast_mode=True)


def test_opcheck():
    torch.library.opcheck(REGISTERED.forward, tuple(drawn((1, 2, 1, 2, 2), torch.float32)))


def test_inputs_alone_are_saved():
    inputs = drawn(SMALL, torch.float32)
    with count_saved() as sizes:
        warp_pairs(*inputs, "triton")
    assert sorted(sizes) == sorted(t.numel() * t.element_size() for t in inputs)


@pytest.mark.parametrize(
    ("shape", "floating"),
    [((1, 2, 2, 3, 96), "0"), ((1, 3, 2, 5, 120), "0"), ((2, 2, 1, 8, 8), "0"), ((2, 2, 1, 8, 8), "1")],
)
def test_declared_bytes_are_those_of_the_interpreter(shape, floating, monkeypatch):
    """Images are one tile, whose pixels are read once a pair; half a pixel of flow reads all of them."""
    monkeypatch.setenv(FLOAT_ATOMICS, floating)
    B, T, H, W, _ = shape
    x = torch.zeros(shape, dtype=torch.float16, requires_grad=True)
    flow = torch.full((2 * B * (T - 1), 2, H, W), 0.5, requires_grad=True)
    with count_bytes() as launches, count_operators(DECLARED) as traffic:
        out = warp_pairs(x, flow, "triton")
    declared = of_forward(x, flow)
    assert (sum(launch.total() for launch in launches), len(launches)) == declared
    assert traffic.by_operator["spikevrt::warp_pairs"] == declared.bytes

    with count_bytes() as launches, count_operators(DECLARED) as traffic:
        torch.autograd.grad(out, (x, flow), torch.randn_like(out))
    declared = of_backward(out, x, flow)
    known = [f"{name}_ptr" for name in ("x", "flow", "grad", "dflow", "sums", "dx")]  # without max|dout|
    assert (sum(launch.total(*known) for launch in launches), len(launches)) == declared
    assert traffic.by_operator["spikevrt::warp_pairs_backward"] == declared.bytes


def test_what_cannot_run_raises_a_sentence():
    x, flow = drawn(SMALL)
    with pytest.raises(ValueError, match="clips of 1 frame have no neighbours"):
        warp_pairs(x[:, :1], flow)
    with pytest.raises(ValueError, match=r"flow is \(1, 2, 2, 3\), not \(2,2,2,3\)"):
        warp_pairs(x, flow[:1])

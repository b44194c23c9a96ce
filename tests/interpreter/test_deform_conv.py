"""The deformable convolution around a flow in the interpreter: outputs, gradients, bits, and what is not finite."""

import pytest
import torch

from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.core.sums import FLOAT_ATOMICS
from spikevrt_kernels.deform_conv import flow_guided_deform_conv
from spikevrt_kernels.deform_conv.triton import launch, steps
from spikevrt_kernels.deform_conv.triton.registered import REGISTERED
from spikevrt_kernels.deform_conv.triton.tile_table import TABLE
from spikevrt_kernels.proof.operator_counter import count_saved
from tests.program_order import mirrored_programs

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3}
RESIDUE = 2.5
NAMES = ("x", "predicted", "flow", "weight", "bias")
CASES = {  # B, T, H, W, C, groups, outputs
    "two clips": (2, 2, 2, 3, 12, 4, 20),
    "three frames, a wide group": (1, 3, 2, 5, 20, 1, 3),
    "one channel a group": (1, 2, 3, 3, 5, 5, 1),
}
OTHERS = ("three frames, a wide group", torch.float32), ("two clips", torch.float16)
not_finite = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
SMALL = (1, 2, 2, 3, 4, 2, 3)


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """The same numbers in every test, and small tiles, so that small images have several."""
    torch.manual_seed(0)
    for kernel, config in TABLE.items():
        monkeypatch.setitem(TABLE, kernel, config._replace(pixels=16))


def drawn(case, dtype=torch.float64):
    """x, predicted, flow, weight and bias; some positions are outside."""
    B, T, H, W, C, groups, outputs = case
    pairs = 2 * B * (T - 1)
    shapes = (B, T, H, W, C), (pairs, H, W, 27 * groups), (pairs, 2, H, W), (outputs, C, 3, 3), (outputs,)
    scales = 1, 1, 1.5, (9 * C) ** -0.5, 1
    inputs = [
        (scale * torch.randn(shape, dtype=torch.float64)).to(dtype) for shape, scale in zip(shapes, scales, strict=True)
    ]
    inputs[2] = inputs[2].to(torch.promote_types(dtype, torch.float32))
    return [t.requires_grad_() for t in inputs]


def run(inputs, backend="triton", R=None):
    """The output and all gradients."""
    out = flow_guided_deform_conv(*inputs, RESIDUE, backend)
    R = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) if R is None else R
    return [out, *torch.autograd.grad(out, inputs, R.to(out.dtype))]


def error(actual, expected):
    return float((actual.detach().double() - expected.detach()).norm() / expected.detach().norm())


@pytest.mark.parametrize(("name", "dtype"), [*((name, torch.float64) for name in CASES), *OTHERS])
def test_forward_and_gradients(name, dtype):
    inputs = drawn(CASES[name], dtype)
    found = run(inputs)
    R = torch.randn(found[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(dtype)
    wanted = run([t.detach().double().requires_grad_() for t in inputs], "naive", R)
    for name, actual, expected, leaf in zip(("out", *NAMES), found, wanted, (found[0], *inputs), strict=True):
        assert error(actual, expected) < TOLERANCES[dtype], name
        assert actual.dtype == leaf.dtype


def test_outputs_beyond_one_program(monkeypatch):
    monkeypatch.setattr(launch, "MOST_CHUNKS", 1)
    inputs = drawn((1, 2, 2, 2, 2, 1, 40))
    with torch.no_grad():
        out, wanted = (flow_guided_deform_conv(*inputs, RESIDUE, backend) for backend in ("triton", "naive"))
    assert error(out, wanted) < 1e-12


def test_taps_beyond_one_program(monkeypatch):
    inputs = drawn(SMALL, torch.float32)
    wanted = run(inputs)
    monkeypatch.setattr(steps, "MOST_SUMS", 3 * 16 * 16)
    assert steps.backward_share(2, 4, 3) == (8, 3, 1, 3)
    for actual, expected in zip(run(inputs), wanted, strict=True):
        assert error(actual, expected.double()) < 1e-6


def test_float_atomics_on_request(monkeypatch):
    inputs = drawn(SMALL, torch.float32)
    fixed = run(inputs)
    monkeypatch.setenv(FLOAT_ATOMICS, "1")
    assert error(run(inputs)[1], fixed[1].double()) < 1e-6
    used = []
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: used.append(1) or True)
    assert all(torch.equal(a, b) for a, b in zip(run(inputs), fixed, strict=True))
    assert used, "fixed point again"


def test_the_same_bits_with_the_programs_in_another_order(monkeypatch):
    inputs = drawn((1, 2, 3, 3, 4, 1, 1), torch.float32)
    wanted = run(inputs)
    order = mirrored_programs(monkeypatch)
    assert all(torch.equal(a, b) for a, b in zip(run(inputs), wanted, strict=True))
    assert max(order) > 0


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_tiny_and_large_gradients(scale):
    inputs = drawn(SMALL, torch.float32)
    R = torch.randn(2, 1, 1, 2, 3, 3)
    found = run(inputs, R=scale * R)
    wanted = run([t.detach().double().requires_grad_() for t in inputs], "naive", R)
    for actual, expected in zip(found[1:], wanted[1:], strict=True):
        assert error(actual.double() / scale, expected) < 2e-6


@not_finite
def test_a_position_that_is_not_finite_reads_and_writes_nothing_else():
    inputs = drawn(SMALL, torch.float32)
    wanted = run(inputs)
    for value in (float("nan"), float("inf"), 1e30):
        inputs[1].data[0, 0, 0, 0] = value  # [tap 0][dy][group 0]
        inputs[2].data[0, 1, 0, 0] = value
        found = run(inputs)
        for i in (0, 2):  # the output, and the gradient of predicted
            elsewhere = [t.reshape(2, 6, -1).flatten(0, 1)[1:].detach() for t in (found[i], wanted[i])]
            assert torch.equal(*elsewhere), i
        assert found[1].isfinite().all()
        assert torch.equal(found[3][1], wanted[3][1]), "the flow's gradient of the other pair"


@not_finite
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_makes_no_plausible_numbers(value):
    inputs = drawn(SMALL, torch.float32)
    R = torch.randn(2, 1, 1, 2, 3, 3)
    R[0, 0, 0, 1, 1, 2] = value
    dx, *_, dbias = run(inputs, R=R)[1:]
    assert dx.isnan().all()
    assert not dbias[2].isfinite()


@not_finite
def test_a_gate_that_is_nan_makes_all_of_dx_nan():
    inputs = drawn(SMALL, torch.float32)
    inputs[1].data[0, 0, 0, 4] = float("nan")  # [tap 0][mask][group 0]
    assert run(inputs)[1].isnan().all()


def test_gradcheck():
    inputs = drawn((1, 2, 2, 2, 2, 1, 1))

    def align(*inputs):
        return flow_guided_deform_conv(*inputs, RESIDUE, "triton")

    assert torch.autograd.gradcheck(align, inputs, fast_mode=True)


def test_opcheck():
    x, predicted, flow, weight, bias = drawn((1, 2, 1, 2, 2, 1, 1), torch.float32)
    torch.library.opcheck(REGISTERED.forward, (x, predicted, flow, weight, bias, RESIDUE, torch.float32))


def test_inputs_alone_are_saved():
    inputs = drawn(SMALL, torch.float32)
    with count_saved() as sizes:
        flow_guided_deform_conv(*inputs, RESIDUE, "triton")
    assert sorted(sizes) == sorted(t.numel() * t.element_size() for t in inputs[:4])


def test_what_cannot_run_raises_a_sentence():
    inputs = drawn(SMALL)
    with pytest.raises(BackendError, match="groups of 65 channels are wider than 64; use sdpa or more groups"):
        flow_guided_deform_conv(*drawn((1, 2, 1, 1, 65, 1, 1)), RESIDUE, "triton")
    with pytest.raises(ValueError, match="clips of 1 frame have no neighbours"):
        flow_guided_deform_conv(inputs[0][:, :1], *inputs[1:], RESIDUE)
    with pytest.raises(ValueError, match=r"predicted and flow are .* not \(2,2,3,27G\) and \(2,2,2,3\)"):
        flow_guided_deform_conv(inputs[0], inputs[1][:1], *inputs[2:], RESIDUE)
    with pytest.raises(ValueError, match="3 channels cannot be divided into 2 groups"):
        flow_guided_deform_conv(inputs[0][..., :3], *inputs[1:], RESIDUE)
    with pytest.raises(ValueError, match=r"weight is \(3, 3, 3, 3\), not \(Cout,4,3,3\)"):
        flow_guided_deform_conv(*inputs[:3], inputs[3][:, :3], inputs[4], RESIDUE)


def test_the_gradient_of_what_was_predicted_may_lie_over_it():
    inputs = drawn(SMALL)
    wanted = run(inputs)
    x, predicted, *others = inputs
    mine = predicted * 1.0  # Made for this call alone.
    out = flow_guided_deform_conv(x, mine, *others, RESIDUE, "triton", overwrite=True)
    R = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad(out, inputs, R, retain_graph=True)
    assert all(map(torch.equal, [out, *found], wanted))
    assert torch.equal(mine, found[1])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(out, inputs, R)

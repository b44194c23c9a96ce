"""The GEGLU block and the fusion in the interpreter: values and gradients against float64, registration, bytes."""

import pytest
import torch

from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.core.case import mixed, output_gradient, pure, run_case
from spikevrt_kernels.geglu_block import GEGLUWeights, geglu_block
from spikevrt_kernels.geglu_block.spec import DECLARED, FEATURES, backward_cost, forward_cost, fuse_case, geglu_case
from spikevrt_kernels.geglu_block.triton.registered import REGISTERED
from spikevrt_kernels.proof.byte_counter import count_bytes
from spikevrt_kernels.proof.operator_counter import count_operators, count_saved

CPU = torch.device("cpu")
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3}
SMALL = {
    "block": geglu_case((2, 2, 3, 5, 24), 40, scaled=True),
    "fuse": fuse_case((2, 3, 3, 3, 16), 20),
}
ODD = {  # sizes that no tile divides, several tiles and parts; one frame; channels in several chunks
    "block-C1-R1": geglu_case((1, 1, 1, 3, 1), 1),
    "block-C120-R240": geglu_case((1, 1, 3, 7, 120), 240, scaled=True),
    "block-C180-R90": geglu_case((1, 1, 1, 5, 180), 90),
    "block-C128-R33": geglu_case((3, 1, 7, 7, 128), 33, scaled=True),
    "fuse-C1-R1": fuse_case((1, 2, 1, 2, 1), 1),
    "fuse-T1-C8": fuse_case((2, 1, 3, 2, 8), 33),
    "fuse-C96-R50": fuse_case((1, 2, 1, 3, 96), 50),
}


def error(actual, expected):
    return float((actual.detach().double() - expected).norm() / expected.norm())


def compare(case, dtype):
    inputs = case.inputs(pure(dtype), CPU)
    grad = output_gradient(inputs[0])
    found = run_case(case, "triton", inputs, None, grad)
    wanted = run_case(case, "naive", [x.double() for x in inputs], None, grad.double())
    assert found.out.dtype == dtype
    assert error(found.out, wanted.out) < TOLERANCES[dtype]
    for name, actual, expected in zip(case.names, found.gradients, wanted.gradients, strict=True):
        assert actual.dtype == dtype
        if expected.numel() and expected.norm() > 1e-9:  # One channel has no deviation, one frame no neighbours.
            assert error(actual, expected) < TOLERANCES[dtype], name


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda d: str(d).split(".")[1])
def test_forward_and_gradients(dtype, case):
    compare(case, dtype)


@pytest.mark.parametrize("case", ODD.values(), ids=ODD)
def test_odd_sizes(case):
    compare(case, torch.float64)


def test_without_a_norm_and_with_gradients_of_any_strides():
    x, w, b = torch.randn(2, 3, 8).double(), torch.randn(8, 8).double(), torch.randn(8).double()
    leaves = [t.requires_grad_() for t in (x, w, b)]
    grad = torch.ones((), dtype=torch.float64).expand(3, 2, 8).transpose(0, 1)
    turned = (w.t(), b)  # not contiguous
    results = []
    for backend in ("triton", "naive"):
        out = geglu_block(x, None, GEGLUWeights((w, b), turned, turned), backend=backend)
        results.append((out, *torch.autograd.grad(out, leaves, grad)))
    assert all(error(a, b.detach()) < 1e-12 for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
def test_autocast_multiplies_in_half_and_keeps_types(case):
    inputs = case.inputs(mixed(None), CPU)
    grad = output_gradient(inputs[0])
    found = run_case(case, "triton", inputs, torch.float16, grad)
    naive = run_case(case, "naive", inputs, torch.float16, None)
    wanted = run_case(case, "naive", [x.double() for x in inputs], None, grad.double())
    assert found.out.dtype == naive.out.dtype
    assert 1e-6 < error(found.out, wanted.out) < 1e-3
    for actual, expected in zip(found.gradients, wanted.gradients, strict=True):
        assert actual.dtype == torch.float32
        assert error(actual, expected) < 2e-3


def test_half_weights_have_half_gradients_and_half_features_lose_no_mean():
    case = geglu_case((1, 1, 3, 5, 24), 40, mean=20.0)
    inputs = case.inputs(pure(torch.float16), CPU)
    grad = output_gradient(inputs[0])
    found = run_case(case, "triton", inputs, torch.float16, grad)
    wanted = run_case(case, "naive", [x.double() for x in inputs], None, grad.double())
    branch = (wanted.out - inputs[0].double()).norm() / wanted.out.norm()
    assert error(found.out, wanted.out) < max(1e-3 * branch, 2**-11)
    for actual, expected in zip(found.gradients, wanted.gradients, strict=True):
        assert actual.dtype == torch.float16
        assert error(actual, expected) < 1e-3


@pytest.mark.parametrize(
    "case", [geglu_case((2, 1, 1, 2, 3), 2, scaled=True), fuse_case((1, 2, 1, 1, 2), 2)], ids=["block", "fuse"]
)
def test_gradcheck(case):
    inputs = [x.requires_grad_() for x in case.inputs(pure(torch.float64), CPU)]
    assert torch.autograd.gradcheck(lambda *leaves: case.run(leaves, "triton"), inputs, fast_mode=True)


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
def test_opcheck(case):
    x, *others = (x.requires_grad_() for x in case.inputs(pure(torch.float32), CPU))
    layers, before = others[-6:], others[:-6]
    if len(before) == 1:
        arguments = (x, *before, None, None, *layers, None, torch.float32)
    else:
        arguments = (x, None, *before, *layers, torch.tensor([0.0, 1.25]), torch.float32)
    torch.library.opcheck(REGISTERED.forward, arguments)


COUNTED = {  # units forward and backward, at most
    "block-C96": (geglu_case((1, 1, 4, 33, 96), 192), 2, 9),
    "block-C120": (geglu_case((1, 1, 2, 5, 120), 240, scaled=True), 2, 9),
    "block-C24": (geglu_case((2, 1, 3, 7, 24), 48), 2, 5),
    "fuse-C96": (fuse_case((1, 2, 1, 5, 96), 64), 4, 18),
    "fuse-C120": (fuse_case((1, 3, 1, 3, 120), 32), 4, 12),
    "fuse-C8": (fuse_case((2, 3, 3, 3, 8), 24), 4, 12),
}


@pytest.mark.parametrize(("case", "forward_units", "backward_units"), COUNTED.values(), ids=COUNTED)
def test_declared_bytes_are_those_of_the_interpreter_and_the_inputs_alone_are_saved(
    case, forward_units, backward_units
):
    inputs = [x.requires_grad_() for x in case.inputs(pure(torch.float16), CPU)]
    x, aligned, hidden = inputs[0], inputs[1] if case.features == 2 else None, inputs[-5].shape[0]
    unit = x.numel() * x.itemsize
    with (
        count_bytes() as launches,
        count_operators(DECLARED) as traffic,
        count_saved(*inputs[case.features :]) as saved,
    ):
        out = case.run(inputs, "triton")
    declared = forward_cost(x, aligned, x.dtype)
    assert (sum(k.total(*FEATURES) for k in launches), len(launches)) == declared
    assert traffic.by_operator["spikevrt::geglu_block"] == declared.bytes <= forward_units * unit
    # The scale of a sample is all else that is kept: 4 bytes.
    kept = [x] if aligned is None else [x, aligned]
    assert sum(size for size in saved if size > 8) == sum(t.numel() * t.itemsize for t in kept)
    with count_bytes() as launches, count_operators(DECLARED) as traffic:
        torch.autograd.grad(out, inputs, torch.randn_like(out))
    declared = backward_cost(x, aligned, hidden, x.dtype)
    assert (sum(k.total(*FEATURES) for k in launches), len(launches)) == declared
    assert traffic.by_operator["spikevrt::geglu_block_backward"] == declared.bytes <= backward_units * unit
    assert all(t.atomics == 0 for k in launches for t in k.tensors.values()), "weight gradients are deterministic"


def test_what_cannot_run_raises_a_sentence():
    x, w, b = torch.zeros(1, 2, 8, dtype=torch.bfloat16), torch.zeros(8, 8), torch.zeros(8)
    with pytest.raises(BackendError, match="bfloat16 is not one of float64, float32, float16; use sdpa"):
        geglu_block(x, (b, b), GEGLUWeights((w, b), (w, b), (w, b)), backend="triton")
    weights = GEGLUWeights((w, b), (w[:, :7], b), (w, b))
    with pytest.raises(ValueError, match=r"geglu_block: a tensor is \(8, 7\) where \(8, 8\) fits x \(1, 2, 8\)"):
        geglu_block(x.float(), (b, b), weights, backend="triton")

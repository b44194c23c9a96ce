"""Attention along time in the interpreter: outputs and gradients against float64, dropout, registration."""

import pytest
import torch

from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.proof.byte_counter import count_bytes
from spikevrt_kernels.temporal_attention import temporal_attention
from spikevrt_kernels.temporal_attention.triton.registered import REGISTERED

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3}
SHAPES = {  # B, C, Tq, Tk, H, W, heads
    "B2-C24-T5-H9W7": (2, 24, 5, 5, 9, 7, 4),
    "B1-C16-T1-Tk3-H9W13": (1, 16, 1, 3, 9, 13, 2),
    "B1-C8-T2-Tk7-H5W5": (1, 8, 2, 7, 5, 5, 1),
    "B2-C12-T8-Tk5-H1W3": (2, 12, 8, 5, 1, 3, 4),
    "B1-C64-T2-H17W16": (1, 64, 2, 2, 17, 16, 1),
}


def error(actual, expected):
    return float((actual.detach().double() - expected.detach()).norm() / expected.detach().norm())


def features(dtype, B, C, Tq, Tk, H, W):
    return [torch.randn(B, C, T, H, W, dtype=dtype, requires_grad=True) for T in (Tq, Tk, Tk)]


def with_gradients(tensors, heads, backend, R):
    out = temporal_attention(*tensors, heads, backend=backend)
    return out, *torch.autograd.grad(out, tensors, R.to(out.dtype))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda d: str(d).split(".")[1])
def test_forward_and_gradients(dtype, shape):
    *sizes, heads = shape
    tensors = features(dtype, *sizes)
    R = torch.randn(tensors[0].shape, dtype=torch.float64)
    found = with_gradients(tensors, heads, "triton", R)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    wanted = with_gradients(exact, heads, "naive", R.to(dtype).double())
    assert found[0].dtype == dtype
    for name, actual, expected in zip(("out", "dq", "dk", "dv"), found, wanted, strict=True):
        if sizes[3] > 1 or name in ("out", "dv"):
            assert error(actual, expected) < TOLERANCES[dtype], name


def test_any_strides():
    """Views of one tensor, channels last, pixels transposed, and an expanded gradient."""
    B, C, T, H, W, heads = 1, 16, 3, 6, 5, 2
    qkv = torch.randn(B, 3 * C, T, H, W, dtype=torch.float64)
    last = torch.randn(B, T, H, W, C, dtype=torch.float64).permute(0, 4, 1, 2, 3)
    turned = torch.randn(B, C, T, W, H, dtype=torch.float64).transpose(3, 4)
    frames_first = torch.randn(B, T, C, H, W, dtype=torch.float64).transpose(1, 2)
    for tensors in (qkv.split(C, 1), (last, turned, frames_first)):
        leaves = [t.detach().requires_grad_() for t in tensors]
        R = torch.ones((), dtype=torch.float64).expand(B, C, T, H, W)
        found, wanted = (with_gradients(leaves, heads, backend, R) for backend in ("triton", "naive"))
        assert all(error(a, b) < 1e-12 for a, b in zip(found, wanted, strict=True) if b.norm() > 1e-9)


def test_features_are_read_in_place_and_once():
    B, C, T, H, W, heads = 2, 8, 5, 9, 7, 2
    q, k, v = torch.randn(B, 3 * C, T, H, W, dtype=torch.float16).split(C, 1)
    unit = B * C * T * H * W * 2
    with count_bytes() as launches:
        temporal_attention(q, k, v, heads, backend="triton")
    assert len(launches) == 1
    assert launches[0].total() == 4 * unit
    q, k, v = (x.detach().clone().requires_grad_() for x in (q, k, v))
    out = temporal_attention(q, k, v, heads, backend="triton")
    with count_bytes() as launches:
        out.backward(torch.randn_like(out))
    assert len(launches) == 1
    assert launches[0].total() == 7 * unit


def test_dropout_repeats_with_its_seed_and_has_the_right_mean():
    q, k, v = features(torch.float64, 1, 8, 3, 5, 16, 16)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        out = temporal_attention(q, k, v, 2, 0.5, "triton")
        runs.append((out, *torch.autograd.grad(out.sum(), (q, k, v))))
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not torch.equal(runs[0][0], runs[2][0])
    ones = torch.ones_like(v)
    # With v = 1 an output is the sum of the kept probabilities over 1 - p: one on average.
    uniform = torch.zeros_like(q), torch.zeros_like(k)
    sums = torch.stack([temporal_attention(*uniform, ones, 2, 0.3, "triton") for _ in range(4)])
    assert abs(float(sums.mean()) - 1) < 0.02
    kept = (sums[:, :, :4:4] * 0.7 * 5).round()  # kept scores of five, one channel a head
    assert abs(float(kept.var()) - 5 * 0.3 * 0.7) < 0.15, "scores drop independently"


def test_dropout_gradients_are_those_of_the_same_mask():
    q, k, v = features(torch.float64, 1, 2, 2, 3, 1, 2)
    seed = torch.tensor([7])

    def attend(q, k, v):
        return REGISTERED.forward(q, k, v, 1, 0.4, seed)

    assert torch.autograd.gradcheck(attend, (q, k, v))


def test_gradcheck():
    q, k, v = features(torch.float64, 1, 2, 3, 2, 1, 2)
    assert torch.autograd.gradcheck(lambda q, k, v: temporal_attention(q, k, v, 1, backend="triton"), (q, k, v))


@pytest.mark.parametrize("dropout_p", [0.0, 0.2])
def test_opcheck(dropout_p):
    q, k, v = features(torch.float32, 1, 8, 2, 3, 3, 2)
    seed = torch.tensor([3]) if dropout_p else None
    torch.library.opcheck(REGISTERED.forward, (q, k, v, 2, dropout_p, seed))


def test_what_cannot_run_raises_a_sentence():
    q, k, v = features(torch.float32, 1, 8, 9, 2, 2, 2)
    with pytest.raises(BackendError, match="temporal_attention: attention backend triton cannot run: T = 9 is above 8"):
        temporal_attention(q, k, v, 2, backend="triton")
    q, k, v = features(torch.bfloat16, 1, 8, 2, 2, 2, 2)
    with pytest.raises(BackendError, match="bfloat16 is not one of float64, float32, float16"):
        temporal_attention(q, k, v, 2, backend="triton")

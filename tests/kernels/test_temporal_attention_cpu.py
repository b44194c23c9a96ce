"""The CPU implementations of attention along time, against each other and against finite differences."""

import pytest
import torch

from spikevrt_kernels.temporal_attention import cpu, temporal_attention
from spikevrt_kernels.temporal_attention.cpu import temporal_attention_cpu
from spikevrt_kernels.temporal_attention.reference import temporal_attention_reference
from spikevrt_kernels.temporal_attention.sdpa import temporal_attention_sdpa
from spikevrt_kernels.temporal_block.cpu import Turn

SHAPES = {  # B, heads, D, Tq, Tk, H, W
    "B2-T5-C8-H9W7": (2, 2, 4, 5, 5, 9, 7),
    "B1-T3-Tk7-C6-H1W13": (1, 3, 2, 3, 7, 1, 13),
    "B3-T1-C5-H4W1": (3, 1, 5, 1, 1, 4, 1),
    "B1-T9-Tk2-C4-H5W5": (1, 4, 1, 9, 2, 5, 5),
}


def features(B, heads, D, Tq, Tk, H, W, dtype=torch.float64):
    """q, k, v with other strides each: contiguous, channels last, every second pixel."""
    q = torch.randn(B, heads * D, Tq, H, W, dtype=dtype)
    k = torch.randn(B, Tk, H, W, heads * D, dtype=dtype).permute(0, 4, 1, 2, 3)
    v = torch.randn(B, heads * D, Tk, H, 2 * W, dtype=dtype)[..., ::2]
    return [x.requires_grad_() for x in (q, k, v)]


@pytest.mark.parametrize("tile", [1, 16, 1024])
@pytest.mark.parametrize("attend", [temporal_attention_cpu, temporal_attention_sdpa])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward_and_gradients_equal_the_reference(shape, attend, tile, monkeypatch):
    monkeypatch.setattr(cpu, "TILE_PIXELS", tile)
    inputs = features(*shape)
    wanted, found = (f(*inputs, shape[1]) for f in (temporal_attention_reference, attend))
    # Of every second pixel: the gradient comes with strides of its own.
    grad = torch.randn(*wanted.shape[:-1], 2 * shape[-1], dtype=torch.float64)[..., ::2]
    pairs = [(wanted, found)]
    gradients = (torch.autograd.grad(out, inputs, grad) for out in (wanted, found))
    for expected, actual in pairs + list(zip(*gradients, strict=True)):
        assert (actual - expected).norm() <= 1e-12 * expected.norm().clamp_min(1), "no gradient where Tk = 1"


def test_gradients_with_dropout():
    inputs = features(1, 2, 3, 3, 2, 2, 3)

    def run(*inputs):
        torch.manual_seed(0)
        return temporal_attention_cpu(*inputs, 2, 0.4)

    assert torch.autograd.gradcheck(run, inputs)


def test_an_expanded_gradient():
    inputs = features(1, 2, 4, 3, 3, 4, 5)
    for backend in ("naive", "sdpa"):
        temporal_attention(*inputs, 2, backend=backend).sum().backward()
    q = inputs[0].detach().requires_grad_()
    temporal_attention(q, *inputs[1:], 2, backend="naive").sum().backward()
    assert (inputs[0].grad - 2 * q.grad).norm() < 1e-12 * q.grad.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_sum_in_float32(dtype):
    inputs = [x.detach() for x in features(1, 2, 24, 5, 5, 8, 8, dtype)]
    exact = temporal_attention_reference(*(x.double() for x in inputs), 2)
    found = temporal_attention_cpu(*inputs, 2)
    assert found.dtype == dtype
    # Only the result is rounded.
    assert (found.double() - exact).norm() <= torch.finfo(dtype).eps * exact.norm()


def test_turning_and_its_gradient_are_contiguous():
    x = torch.randn(5, 7, requires_grad=True)
    out = Turn.apply(x)
    (grad,) = torch.autograd.grad(out, x, torch.ones(7, 5))
    assert torch.equal(out, x.t())
    assert out.is_contiguous()
    assert grad.is_contiguous()

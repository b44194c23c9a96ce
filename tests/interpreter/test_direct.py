"""Operators called without the dispatcher give the same bits as registered ones, for all outputs and gradients."""

from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from spikevrt_kernels.core import registered
from spikevrt_kernels.core.direct import followed
from spikevrt_kernels.deform_conv import flow_guided_deform_conv
from spikevrt_kernels.geglu_block import GEGLUWeights, geglu_block, geglu_fuse
from spikevrt_kernels.linear_residual import linear_residual
from spikevrt_kernels.norm_linear import norm_linear
from spikevrt_kernels.proof.operator_counter import count_saved
from spikevrt_kernels.temporal_attention import temporal_attention
from spikevrt_kernels.temporal_block import BlockWeights, temporal_block
from spikevrt_kernels.temporal_block.triton import registered as block
from spikevrt_kernels.warp_pairs import warp_pairs
from spikevrt_kernels.window_attention import RelativeBias, window_attention

C, HEADS, WINDOW = 16, 2, (2, 2, 2)
MODULES = (registered, block)


def drawn(*shape):
    return torch.randn(shape).requires_grad_()


def block_call(cross, dropout_p=0.0):
    maps = [drawn(1, C, 2, 2, 3), drawn(1, C, 2, 2, 3) if cross else None]
    pairs = [(drawn(*shape), drawn(shape[0])) for shape in ((C,), (C,), (3 * C, C), (C, C), (C,), (C, C), (C, C))]
    weights = BlockWeights(pairs[0], pairs[1] if cross else None, *pairs[2:])
    leaves = [t for t in maps if t is not None] + [w for pair in weights if pair is not None for w in pair]
    return lambda: temporal_block(*maps, weights, HEADS, dropout_p, backend="triton"), leaves


def window_call(mutual):
    leaves = [drawn(1, 2, 3, 2, (6 if mutual else 3) * C), drawn(3 * C), drawn(27, HEADS)]
    places = drawn(4, 3 * C) if mutual else None
    bias = RelativeBias(leaves[2], WINDOW)
    return (
        lambda: window_attention(leaves[0], leaves[1], bias, HEADS, WINDOW, (0, 1, 1), places, backend="triton"),
        leaves + ([places] if mutual else []),
    )


def attention_call():
    leaves = [drawn(1, C, 2, 2, 3) for _ in range(3)]
    return lambda: temporal_attention(*leaves, HEADS, backend="triton"), leaves


def norm_linear_call():
    leaves = [drawn(1, 2, 3, C), drawn(C), drawn(C), drawn(2 * C, C), drawn(2 * C)]
    x, gamma, beta, weight, bias = leaves
    return lambda: norm_linear(x, (gamma, beta), weight, bias, "triton"), leaves


def linear_residual_call():
    o, *others = leaves = [drawn(2, 3, 2 * C), drawn(2, 3, C), drawn(C, 2 * C), drawn(C)]
    x, weight, bias = others
    return lambda: linear_residual(x, o, weight, bias, torch.tensor([0.0, 2.0]), "triton"), leaves


def geglu_call():
    leaves = [drawn(2, 2, 3, C), drawn(C), drawn(C), *(drawn(*shape) for _ in range(3) for shape in ((C, C), (C,)))]
    weights = GEGLUWeights(*zip(leaves[3::2], leaves[4::2], strict=True))
    scale = torch.tensor([1.25, 0.5])
    return lambda: geglu_block(leaves[0], (leaves[1], leaves[2]), weights, scale, backend="triton"), leaves


def fuse_call():
    shapes = ((C, 3 * C), (C,), (C, 3 * C), (C,), (C, C), (C,))
    leaves = [drawn(1, 2, 2, 3, C), drawn(2, 1, 1, 2, 3, C), *(drawn(*shape) for shape in shapes)]
    weights = GEGLUWeights(*zip(leaves[2::2], leaves[3::2], strict=True))
    return lambda: geglu_fuse(leaves[0], leaves[1], weights, backend="triton"), leaves


def deform_call():
    leaves = [drawn(1, 2, 1, 2, 2), drawn(2, 1, 2, 27), drawn(2, 2, 1, 2), drawn(2, 2, 3, 3), drawn(2)]
    return lambda: flow_guided_deform_conv(*leaves, 2.5, backend="triton"), leaves


def warp_call():
    leaves = [drawn(1, 2, 1, 2, 2), drawn(2, 2, 1, 2)]
    return lambda: warp_pairs(*leaves, backend="triton"), leaves


CALLS = {
    "self block": lambda: block_call(False),
    "cross block": lambda: block_call(True),
    "self block with dropout": lambda: block_call(False, 0.3),
    "window attention": lambda: window_call(False),
    "mutual window attention": lambda: window_call(True),
    "attention along time": attention_call,
    "norm and linear": norm_linear_call,
    "linear and residual": linear_residual_call,
    "GEGLU block": geglu_call,
    "GEGLU fusion": fuse_call,
    "deformable convolution": deform_call,
    "input of the offset convolutions": warp_call,
}
operators = pytest.mark.parametrize("make", CALLS.values(), ids=CALLS)


@pytest.fixture(autouse=True)
def afresh():
    torch.manual_seed(0)


def results(call, leaves):
    torch.manual_seed(1)
    out = call()
    return [out, *torch.autograd.grad(out, leaves, torch.ones_like(out))]


@contextmanager
def as_if_followed():
    with ExitStack() as stack:
        for module in MODULES:
            stack.enter_context(patch.object(module, "followed", return_value=True))
        yield


def as_registered(call, leaves):
    with as_if_followed():
        return results(call, leaves)


@operators
def test_the_same_bits_as_the_registered_operator(make):
    call, leaves = make()
    for mine, wanted in zip(results(call, leaves), as_registered(call, leaves), strict=True):
        assert mine.dtype == wanted.dtype
        assert torch.equal(mine, wanted)


@operators
def test_the_same_bits_without_gradients_and_a_second_time(make):
    call, leaves = make()
    wanted = as_registered(call, leaves)[0]
    for _ in range(2):
        torch.manual_seed(1)
        with torch.no_grad():
            assert torch.equal(call(), wanted)


@operators
def test_the_same_bits_through_a_checkpoint(make):
    call, leaves = make()
    wanted = results(call, leaves)
    found = results(lambda: checkpoint(call, use_reentrant=False), leaves)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@operators
def test_gradients_of_gradients_are_refused(make):
    call, leaves = make()
    (grad, *_) = torch.autograd.grad(call().sum(), leaves, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        grad.sum().backward()


@operators
def test_weights_changed_before_the_backward_are_refused(make):
    call, leaves = make()
    out = call()
    with torch.no_grad():
        leaves[0].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def saved_bytes(call, leaves):
    with count_saved(*leaves) as sizes:
        call()
    return sorted(sizes)


@operators
def test_nothing_more_is_saved(make):
    call, leaves = make()
    mine = saved_bytes(call, leaves)
    with as_if_followed():
        assert mine == saved_bytes(call, leaves)


@pytest.mark.parametrize("at", range(1, 15))
def test_a_weight_written_between_two_calls_is_seen(at):
    """Through `.data`, which leaves no trace in its version."""
    call, leaves = block_call(True)
    with torch.no_grad():
        before = call()
        leaves[at].data.mul_(1.5).add_(0.25)
        after = call()
    assert not torch.equal(after, before)
    with torch.no_grad(), as_if_followed():
        assert torch.equal(after, call())


def test_gradients_are_accumulated_each_in_its_own_place():
    call, leaves = block_call(True)
    wanted = results(call, leaves)[1:]
    for _ in range(2):
        out = call()
        out.backward(torch.ones_like(out))
    assert all(torch.equal(leaf.grad, 2 * g) for leaf, g in zip(leaves, wanted, strict=True))


class Mine(torch.Tensor):
    """A subclass."""


def test_who_follows_an_operator_gets_the_registered_one():
    x = torch.zeros(1)
    assert not followed(x, None, torch.nn.Parameter(x))
    assert followed(x.as_subclass(Mine))
    assert followed(x.to("meta"))
    with torch.profiler.profile():
        assert followed(x)
    with torch._subclasses.FakeTensorMode():
        assert followed(torch.zeros(1))
    seen = []
    torch.func.grad(lambda t: seen.append(followed(t)) or t.sum())(x)
    assert seen == [True]

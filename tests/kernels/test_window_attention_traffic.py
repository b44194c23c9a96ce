"""Bytes of a window attention on 6x256x256 in bfloat16: declared by the kernels, and moved by PyTorch's operators."""

from math import prod

import pytest
import torch

from spikevrt_kernels.core.backends import planning
from spikevrt_kernels.proof.operator_counter import count_operators
from spikevrt_kernels.window_attention import RelativeBias, window_attention
from spikevrt_kernels.window_attention.spec import DECLARED

C, HEADS, SIZE = 96, 6, (6, 256, 256)
WINDOWS = {"self": ((6, 8, 8), (0, 4, 4)), "mutual": ((2, 8, 8), (1, 4, 4))}
GB = 1e9


def counted(kind, backend):
    """GB and launches forward, GB and launches backward."""
    window, shift = WINDOWS[kind]
    mutual = kind == "mutual"

    def leaf(*shape):
        return torch.empty(shape, dtype=torch.bfloat16, device="meta", requires_grad=True)

    qkv, offset = leaf(1, *SIZE, 6 * C if mutual else 3 * C), leaf(3 * C)
    bias = RelativeBias(leaf(prod(2 * s - 1 for s in window), HEADS), window)
    places = leaf(window[1] * window[2], 3 * C) if mutual else None
    leaves = [x for x in (qkv, offset, bias.table, places) if x is not None]
    with planning(), count_operators(DECLARED) as forward:
        out = window_attention(qkv, offset, bias, HEADS, window, shift, places, backend)
    with planning(), count_operators(DECLARED) as backward:
        torch.autograd.grad(out, leaves, torch.empty_like(out))
    return forward.bytes / GB, forward.launches, backward.bytes / GB, backward.launches


@pytest.mark.parametrize("kind", WINDOWS)
def test_traffic_against_the_plain_operators(kind, within):
    forward, launches, backward, backward_launches = counted(kind, "triton")
    existing = counted(kind, "naive")
    unit = torch.Size(SIZE).numel() * C * 2 / GB
    branches = 1 if kind == "self" else 2
    assert forward == pytest.approx(4 * branches * unit), "q, k, v and the output once"
    within(f"window attention {kind} 6x256x256 forward, GB", forward, 0.5 * branches)
    within(f"window attention {kind} 6x256x256 forward, share of naive", forward / existing[0], 0.05)
    within(f"window attention {kind} 6x256x256 backward, GB", backward, 0.5 * existing[2])
    within(f"window attention {kind} 6x256x256 launches forward", launches, 3)
    within(f"window attention {kind} 6x256x256 launches backward", backward_launches, 5)

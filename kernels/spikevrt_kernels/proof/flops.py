"""Multiplications and additions of matrix products and convolutions, by operator, from its arguments.

Kernels that compute something again count what they compute.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import flop_registry

from spikevrt_kernels.geglu_block import spec as geglu
from spikevrt_kernels.linear_residual import spec as residual
from spikevrt_kernels.norm_linear import spec as norm
from spikevrt_kernels.temporal_attention import spec as attention
from spikevrt_kernels.temporal_block import spec as block
from spikevrt_kernels.window_attention import spec as windows


def of_block(x: Tensor, context: Tensor | None, weights: Sequence[Tensor], *others: Any) -> int:
    """Of `spikevrt::temporal_block`."""
    return block.forward_flops(x, context, weights[-2].shape[1])


def of_block_backward(grad: Tensor, x: Tensor, context: Tensor | None, weights: Sequence[Tensor], *others: Any) -> int:
    """Of `spikevrt::temporal_block_backward`."""
    return block.backward_flops(x, context, weights[-2].shape[1])


def of_windows(
    qkv: Tensor, offset: Tensor, table: Tensor, mutual: Tensor | None, heads: int, window: Sequence[int], *others: Any
) -> int:
    """Of `spikevrt::window_attention`."""
    return windows.forward_flops(qkv, offset, mutual is not None, window)


def of_windows_backward(
    grad: Tensor,
    qkv: Tensor,
    offset: Tensor,
    table: Tensor,
    mutual: Tensor | None,
    heads: int,
    window: Sequence[int],
    *others: Any,
) -> int:
    """Of `spikevrt::window_attention_backward`."""
    return windows.backward_flops(qkv, offset, mutual is not None, window)


def of_geglu(x: Tensor, aligned: Tensor | None, gamma: Any, beta: Any, w11: Tensor, *others: Any) -> int:
    """Of `spikevrt::geglu_block`."""
    return geglu.forward_flops(x, aligned, w11.shape[0])


def of_geglu_backward(
    grad: Tensor, x: Tensor, aligned: Tensor | None, gamma: Any, beta: Any, w11: Tensor, *others: Any
) -> int:
    """Of `spikevrt::geglu_block_backward`."""
    return geglu.backward_flops(x, aligned, w11.shape[0])


def of_alignment(x: Tensor, predicted: Tensor, flow: Tensor, weight: Tensor, *others: Any) -> int:
    """Of `spikevrt::deform_conv`: a product of gathered rows with (9,C,outputs)."""
    return 2 * prod(predicted.shape[:3]) * weight.numel()


def of_alignment_backward(grad: Tensor, *inputs: Any) -> int:
    """Of `spikevrt::deform_conv_backward`: the gradients of the gathered rows and of the weights."""
    return 2 * of_alignment(*inputs)


OWN: Mapping[str, Callable[..., int]] = {
    "spikevrt::temporal_attention": lambda q, k, *others: attention.forward_flops(q, k),
    "spikevrt::temporal_attention_backward": lambda grad, q, k, *others: attention.backward_flops(q, k),
    "spikevrt::temporal_block": of_block,
    "spikevrt::temporal_block_backward": of_block_backward,
    "spikevrt::window_attention": of_windows,
    "spikevrt::window_attention_backward": of_windows_backward,
    "spikevrt::norm_linear": lambda x, gamma, beta, weight, *others: norm.forward_flops(x, weight.shape[0]),
    "spikevrt::norm_linear_backward": lambda grad, x, *others: norm.backward_flops(x, grad.shape[-1]),
    "spikevrt::linear_residual": lambda x, o, *others: residual.forward_flops(x, o),
    "spikevrt::linear_residual_backward": lambda grad, o, *others: residual.backward_flops(grad, o),
    "spikevrt::geglu_block": of_geglu,
    "spikevrt::geglu_block_backward": of_geglu_backward,
    "spikevrt::deform_conv": of_alignment,
    "spikevrt::deform_conv_backward": of_alignment_backward,
    "spikevrt::deform_conv_backward_over": of_alignment_backward,
}
"""Operators of this project that multiply matrices; the others only gather."""


def flops_of(func: Any, out: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Multiplications and additions of the products of one call of an operator; its tensors may be without storage."""
    name = func._schema.name
    if name in OWN:
        return OWN[name](*args, **kwargs)
    count = flop_registry.get(func._overloadpacket)
    return 0 if count is None else int(count(*args, **kwargs, out_val=out))

"""Operators `spikevrt::<name>` with their gradients: registered with PyTorch, and called past its dispatcher."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikevrt_kernels.core.direct import differentiated, followed
from spikevrt_kernels.core.launch import without_values

Run = Callable[..., Any]


class Registered:
    """An operator of plain arguments; calling it takes the shortest way on which everything is still seen.

    Its functions take tensors, numbers and lists in one order. The two that run are typed, because PyTorch reads the
    operator's schema from their annotations.

    Args:
        name: the operator's name; its gradient is `<name>_backward`.
        forward: runs the forward kernels; a tensor or a tuple of tensors.
        backward: runs the backward kernels.
        like_forward: outputs of `forward` without values.
        like_backward: outputs of `backward` without values.
        save: save(ctx, inputs of forward, its output) keeps what the backward needs.
        differentiate: differentiate(ctx, run, *gradients of the outputs) -> a gradient for each argument of forward,
            where `run` runs the backward.
    """

    def __init__(
        self,
        name: str,
        forward: Run,
        backward: Run,
        like_forward: Run,
        like_backward: Run,
        save: Callable[[Any, tuple[Any, ...], Any], None],
        differentiate: Callable[..., tuple[Any, ...]],
    ) -> None:
        self.run_forward = forward
        self.forward = torch.library.custom_op(f"spikevrt::{name}", forward, mutates_args=())
        self.backward = torch.library.custom_op(f"spikevrt::{name}_backward", backward, mutates_args=())
        self.forward.register_fake(without_values(forward, like_forward))
        self.backward.register_fake(without_values(backward, like_backward))
        self.forward.register_autograd(
            lambda ctx, *grads: differentiate(ctx, self.backward, *grads), setup_context=save
        )
        self.direct = direct(forward, backward, self.backward, save, differentiate)

    def __call__(self, *inputs: Any) -> Any:
        """Run the operator on the arguments of `forward`."""
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        if followed(*tensors):
            return self.forward(*inputs)
        return self.direct(*inputs) if differentiated(*tensors) else self.run_forward(*inputs)


def direct(
    run_forward: Run, run_backward: Run, registered_backward: Run, save: Run, differentiate: Run
) -> Callable[..., Any]:
    """The operator as an autograd function, without PyTorch's dispatcher."""

    class Direct(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            output = run_forward(*inputs)
            save(ctx, inputs, output)
            return output

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> Any:
            return differentiate(ctx, registered_backward if torch.is_grad_enabled() else run_backward, *grads)

    return Direct.apply

"""Names the module in which the first value that is not finite appears, forward or backward."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from spikevrt.errors import UserError

AUTOGRAD_MESSAGE = re.compile(r"Function '(\w+)' returned nan values")
AUTOGRAD_WARNING = "Error detected in"
REMEDY = "lower TRAIN.LR, set TRAIN.CLIP_GRAD_NORM, or try TRAIN.MIXED_PRECISION none"


@contextmanager
def anomalies_named(model: nn.Module, step: Callable[[], int], backward: bool) -> Iterator[None]:
    """While active, the first value of a training pass that is not finite is an error that names its module.

    The host waits for every module's output, so training is slow.

    Args:
        model: the model, without wrappers.
        step: the number of the current step, from 1.
        backward: whether gradients are watched too. Those of fp16 overflow until the scaler has found its scale, which
            is no anomaly.

    Raises:
        UserError: a value is not finite.
    """
    watch = Watch(model, step, backward)
    with warnings.catch_warnings():
        # PyTorch shows where the function was called as a warning of many lines.
        warnings.filterwarnings("ignore", AUTOGRAD_WARNING)
        try:
            with torch.autograd.set_detect_anomaly(backward):
                yield
        except RuntimeError as error:
            found = AUTOGRAD_MESSAGE.search(str(error))
            if found is None:
                raise
            watch.fail_backward(found[1])
        finally:
            watch.remove()


class Watch:
    """Hooks on all modules and parameters of a model."""

    def __init__(self, model: nn.Module, step: Callable[[], int], backward: bool) -> None:
        self.step = step
        self.backward = backward
        self._reached = "the loss"
        """Module at whose output the backward pass has arrived."""
        self._outputs: list[Tensor] = []
        """What the last module returned."""
        hooks = [model.register_forward_pre_hook(self._input)]
        hooks += [module.register_forward_hook(partial(self._output, name)) for name, module in model.named_modules()]
        if backward:
            hooks += [p.register_hook(partial(self._weight, n)) for n, p in model.named_parameters() if p.requires_grad]
        self._hooks = hooks

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def fail(self, what: str) -> NoReturn:
        """Raise the error about `what` is not finite."""
        raise UserError(f"step {self.step()}: {what} not finite (--detect-anomaly); {REMEDY}")

    def fail_backward(self, function: str) -> NoReturn:
        """Raise the error about a gradient; `function` is what computed it."""
        self.fail(f"in the backward pass of {self._reached}, a gradient of {function} is")

    def _input(self, model: nn.Module, inputs: tuple[Any, ...]) -> None:
        if model.training and not all_finite(inputs):
            raise UserError(f"step {self.step()}: the model's input is not finite (--detect-anomaly); check DATA.NORM")

    def _output(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not module.training:
            return
        own = f"{name or 'the model'} ({type(module).__name__})"
        if not all_finite(output):
            sound = all_finite([*module.parameters()])
            self.fail(f"the output of {own} is" if sound else f"the weights of {own} are")
        if not self.backward:
            return
        found = [tensor for tensor in tensors(output) if tensor.requires_grad]
        for tensor in found:
            # A module around others often returns what the last of them did: that one keeps the name.
            if all(tensor is not known for known in self._outputs):
                tensor.register_hook(partial(self._gradient, own))
        self._outputs = found

    def _gradient(self, own: str, gradient: Tensor) -> None:
        """Reached with the gradient of a module's output, before the module's own backward pass."""
        if not all_finite(gradient):
            self.fail(f"the gradient of the output of {own} is")
        self._reached = own

    def _weight(self, name: str, gradient: Tensor) -> None:
        if not all_finite(gradient):
            self.fail(f"the gradient of the weight {name} is")


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of floating point in nested lists and tuples."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors(part)


def all_finite(value: Any) -> bool:
    """Whether all `tensors` of a value are finite; the host waits for the answer."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors(value))

"""Calls of operators without PyTorch's dispatcher, if nothing but autograd follows them.

A registered operator costs about 30 us of Python a call and 80 with gradients, several times what its launch costs.
Compilation, fake tensors, dispatch modes and profilers need it; plain tensors do not.
"""

import torch
from torch import Tensor, nn

PLAIN = (Tensor, nn.Parameter)
"""Exact types of tensors; subclasses may have any behaviour."""


def followed(*tensors: Tensor | None) -> bool:
    """Whether an operator on these tensors must be called through its registration."""
    if torch.compiler.is_compiling():
        return True
    return (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._get_tracing_state() is not None
        or torch.autograd._profiler_enabled()
        or not all(t is None or (type(t) in PLAIN and not t.is_meta) for t in tensors)
    )


def differentiated(*tensors: Tensor | None) -> bool:
    """Whether autograd needs gradients."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)

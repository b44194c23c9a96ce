"""The running mean of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightMean:
    """mean <- d * mean + (1 - d) * weights after every step, d = min(decay, (1 + step) / (10 + step)).

    Args:
        model: whose weights change in place; what it holds of whole numbers never changes.
        decay: the largest d.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        own = model.state_dict()
        self.state: dict[str, Tensor] = {k: v.detach().clone() for k, v in own.items()}
        moving = [k for k, v in own.items() if v.is_floating_point()]
        self._means, self._weights = [self.state[k] for k in moving], [own[k] for k in moving]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step`; early steps forget faster, or the start would stay for long."""
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self._means, self._weights, step)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model with the mean in the place of its weights."""
        own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.state)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

"""The exponential moving average (EMA) of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightEMA:
    """EMA <- d * EMA + (1 - d) * weights after every step, d = min(decay, (1 + step) / (10 + step)).

    Args:
        model: its weights change in place; its integer buffers never change.
        decay: the largest d.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        own = model.state_dict()
        self.state: dict[str, Tensor] = {k: v.detach().clone() for k, v in own.items()}
        moving = [k for k, v in own.items() if v.is_floating_point()]
        self._averages = [self.state[k] for k in moving]
        self._weights = [own[k] for k in moving]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after `step`; decay is smaller early on, so that the initial weights fade quickly."""
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self._averages, self._weights, step)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the average in place of its weights."""
        own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.state)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

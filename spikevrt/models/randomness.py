"""Randomness in training: a sample's numbers depend on seed, draw and layer, never on the batch or process it is in."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

STREAM = 1
"""Keeps these numbers apart from those of the augmentation, which depend on (seed, draw) too."""

Block = Callable[[Tensor, Tensor | None, float], Tensor]
"""block(x, context or None, dropout probability) -> a tensor; samples first everywhere."""


class DropPath(nn.Module):
    """Skips a residual branch for whole samples in training (Huang et al. 2016): gives the scale of each sample."""

    uniform: Tensor | None = None
    """(B,) numbers in [0, 1) on the device, set by `SampleRandomness`; None = draw them from torch's generator."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor | None:
        """Scales (B,) float32 of the branch for x (B,...): 0, or 1 / (1 - rate) where it is kept; None = 1."""
        if not self.training or self.rate == 0:
            return None
        keep = 1 - self.rate
        uniform = torch.rand(x.shape[0], device=x.device) if self.uniform is None else self.uniform
        return (uniform < keep).float() / keep


class AttentionDropout(nn.Module):
    """Calls a block with its dropout probability in training, and with 0 otherwise."""

    seeds: Sequence[int] | None = None
    """One per sample, set by `SampleRandomness`; None = the block draws for the whole batch from torch's generator."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, block: Block, x: Tensor, context: Tensor | None) -> Tensor:
        """The block's result for x (B,...) and context (B,...) or None."""
        if not self.training or self.rate == 0:
            return block(x, context, 0.0)
        return self._dropping(block, x, context)

    # Compiled code would replace torch's generator by its own, and be compiled anew for every seed.
    @torch._disable_dynamo
    def _dropping(self, block: Block, x: Tensor, context: Tensor | None) -> Tensor:
        if self.seeds is None:
            return block(x, context, self.rate)
        samples = x.split(1)
        contexts = [None] * len(samples) if context is None else context.split(1)
        parts = []
        for seed, sample, other in zip(self.seeds, samples, contexts, strict=True):
            with seeded(seed, x.device):
                parts.append(block(sample, other, self.rate))
        return torch.cat(parts)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """While active, torch's generator of a device continues from `seed`; afterwards it is as it was before."""
    generator = torch.cuda.default_generators[device.index] if device.type == "cuda" else torch.default_generator
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)


class SampleRandomness:
    """Gives the random layers of a model their numbers for each batch.

    Args:
        model: its layers are numbered in the order of `model.modules()`; those with rate 0 are not counted.
        seed: TRAIN.SEED.
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        self.seed = seed
        self.paths = [m for m in model.modules() if isinstance(m, DropPath) and m.rate]
        self.dropouts = [m for m in model.modules() if isinstance(m, AttentionDropout) and m.rate]

    @contextmanager
    def of(self, draws: Sequence[int], device: torch.device) -> Iterator[None]:
        """While active, for forward and backward, each sample of the batch has the numbers of its draw.

        The numbers are computed on the host and copied once; from there no layer waits for them.

        Args:
            draws: the draw of each sample; empty = the layers draw from torch's generator.
            device: where the model runs.
        """
        if not draws or not (self.paths or self.dropouts):
            yield
            return
        generators = [np.random.default_rng((self.seed, draw, STREAM)) for draw in draws]
        uniform = np.stack([g.random(len(self.paths), np.float32) for g in generators], axis=1)
        seeds = np.stack([g.integers(2**63, size=len(self.dropouts)) for g in generators], axis=1)
        for path, numbers in zip(self.paths, to_device(uniform, device).unbind(), strict=True):
            path.uniform = numbers
        for dropout, row in zip(self.dropouts, seeds.tolist(), strict=True):
            dropout.seeds = row
        try:
            yield
        finally:
            for path in self.paths:
                path.uniform = None
            for dropout in self.dropouts:
                dropout.seeds = None


def to_device(numbers: np.ndarray, device: torch.device) -> Tensor:
    """Start copying an array to a device; from pinned memory the host does not wait."""
    host = torch.from_numpy(numbers)
    return (host.pin_memory() if device.type == "cuda" else host).to(device, non_blocking=True)

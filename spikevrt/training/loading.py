"""Batches of the data set for a device."""

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from spikevrt.data.clips.dataset import Sample, collate


def load(
    data: Dataset[Sample],
    device: torch.device,
    batch_size: int = 1,
    sampler: Sampler[Any] | None = None,
    workers: int = 0,
) -> DataLoader[Sample]:
    """Collated batches, in order or as `sampler` draws them, by so many workers (0 = this process); pinned for CUDA.

    Workers are forked, where that is the start method: they touch no CUDA, start at once, and have this process's
    handlers, so that Ctrl-C in a terminal does not end them before the step that needs them is saved.
    """
    return DataLoader(
        data,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )

"""Loads batches, and computes the metrics on the validation split during training."""

import os
import signal
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from spikevrt.config import Config
from spikevrt.data.clips.batches import to_device
from spikevrt.data.clips.dataset import ClipDataset, Sample, collate
from spikevrt.models import run_model
from spikevrt.restoration.metrics import METRICS
from spikevrt.system.device import autocast, half_type
from spikevrt.system.subprocesses import signalled_with_parent
from spikevrt.training.distributed import Processes


def load(
    data: Dataset[Sample],
    device: torch.device,
    batch_size: int = 1,
    sampler: Sampler[Any] | None = None,
    workers: int = 0,
) -> DataLoader[Sample]:
    """Load collated batches, in order or as `sampler` draws them; memory is pinned for CUDA.

    Worker processes (0 = this process) are forked where that is the default: they do not use CUDA, and start quickly.
    """
    return DataLoader(
        data,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        worker_init_fn=stand_apart,
    )


def stand_apart(_: int) -> None:
    """Let a worker process end with its parent, and only then.

    In a process group of its own it gets neither Ctrl-C of a terminal nor the signals that torchrun sends to a group:
    the current step needs its samples. On Linux it ends at once with its parent: as it may have inherited the parent's
    connections, other processes would take that to be alive for seconds.
    """
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    prepare = signalled_with_parent(signal.SIGKILL)
    if prepare is not None:
        prepare()


MOST_SAMPLES = 16
"""Largest number of samples that are validated; they are spread evenly over the split."""


def validation_samples(config: Config) -> Subset:
    """The validation samples: centre crops of at most `MOST_SAMPLES` samples."""
    data = ClipDataset(config.data, config.data.val_split, False, config.model.use_spike, crop=config.data.crop_size)
    count = min(MOST_SAMPLES, len(data))
    return Subset(data, [i * len(data) // count for i in range(count)])


@torch.no_grad()
def validate(model: nn.Module, samples: Subset, config: Config, processes: Processes) -> dict[str, float]:
    """Means of `METRICS` over all frames (RGB) of the samples, which are divided among the processes."""
    mine = Subset(samples, range(processes.rank, len(samples), processes.world))
    half = half_type(processes.device, config.train.mixed_precision)
    totals = torch.zeros(len(METRICS) + 1, dtype=torch.float64, device=processes.device)
    model.eval()
    for raw in load(mine, processes.device):
        batch = to_device(raw, processes.device, config.data.norm)
        with autocast(processes.device, half):
            out = run_model(model, batch.blur, batch.voxels)
        out = out.float().clamp(0, 1)
        values = torch.stack([metric.function(out, batch.sharp).sum() for metric in METRICS.values()])
        totals[:-1] += values.to(totals)
        totals[-1] += out.shape[0] * out.shape[1]
    model.train()
    *sums, frames = processes.means(totals)
    return {name: total / frames for name, total in zip(METRICS, sums, strict=True)}

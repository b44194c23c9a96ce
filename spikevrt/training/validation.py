"""The metrics on the validation split while training."""

import torch
from torch import nn
from torch.utils.data import Subset

from spikevrt.config import Config
from spikevrt.data.clips.batches import to_device
from spikevrt.data.clips.dataset import ClipDataset
from spikevrt.models import run_model
from spikevrt.restoration.metrics import METRICS
from spikevrt.system.device import autocast, half_type
from spikevrt.training.distributed import Processes
from spikevrt.training.loading import load

MOST_WINDOWS = 16
"""Windows of CLIP_LEN frames, spread evenly over the split."""


def validation_windows(config: Config) -> Subset:
    """Centre crops of at most `MOST_WINDOWS` windows."""
    data = ClipDataset(config.data, config.data.val_split, False, config.model.use_spike, crop=config.data.crop_size)
    count = min(MOST_WINDOWS, len(data))
    return Subset(data, [i * len(data) // count for i in range(count)])


@torch.no_grad()
def validate(model: nn.Module, windows: Subset, config: Config, processes: Processes) -> dict[str, float]:
    """Means of `METRICS` over all frames (RGB), shared out over the processes."""
    mine = Subset(windows, range(processes.rank, len(windows), processes.world))
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
    *sums, frames = processes.mean(totals).tolist()
    return {name: total / frames for name, total in zip(METRICS, sums, strict=True)}

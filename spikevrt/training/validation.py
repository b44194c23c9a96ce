"""The samples of training and validation, in batches, and the metrics on the validation split."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler, Subset

from spikevrt.config import Config
from spikevrt.config.keys import AUTO
from spikevrt.data.clips.batches import to_device, unit
from spikevrt.data.clips.dataset import ClipDataset, Sample
from spikevrt.data.clips.loading import Loader, worker_options
from spikevrt.models import run_model
from spikevrt.models.half_weights import half_precision
from spikevrt.restoration.metrics import BLURRED, METRICS
from spikevrt.restoration.window import WindowRestorer
from spikevrt.training.distributed import Processes


def load(
    data: Dataset[Sample],
    device: torch.device,
    batch_size: int = 1,
    sampler: Sampler[Any] | None = None,
    workers: int = 0,
) -> Loader:
    """Load collated batches, in order or as `sampler` draws them; memory is pinned for CUDA.

    Worker processes (0 = this process) do not use CUDA, and do not hear Ctrl-C, so that the current step is saved.
    Where shared memory is small, there are fewer of them, with a warning.
    """
    return Loader(
        data,
        batch_size=batch_size,
        sampler=sampler,
        pin_memory=device.type == "cuda",
        **worker_options(data, batch_size, workers),
    )


MOST_SAMPLES = 16
"""Largest number of samples that are validated; they are spread evenly over the split."""


def training_samples(config: Config) -> ClipDataset:
    """The training samples: random crops, flips, quarter turns and time reversal."""
    return ClipDataset(
        config.data,
        config.data.train_split,
        augment=True,
        use_spike=config.model.use_spike,
        seed=config.train.seed,
        crop=config.data.crop_size,
    )


def validation_samples(config: Config, val_crop_size: str | None) -> Subset:
    """At most `MOST_SAMPLES` validation samples: centre crops or whole frames, as TRAIN.VAL_CROP_SIZE says."""
    side = None if val_crop_size is None else config.data.crop_size if val_crop_size == AUTO else int(val_crop_size)
    name = f"{'DATA.CROP_SIZE' if val_crop_size == AUTO else 'TRAIN.VAL_CROP_SIZE'} ="
    data = ClipDataset(config.data, config.data.val_split, False, config.model.use_spike, crop=side, crop_name=name)
    count = min(MOST_SAMPLES, len(data))
    return Subset(data, [i * len(data) // count for i in range(count)])


def probe_sample(config: Config, samples: Subset) -> Sample:
    """The first validation sample at the size of training, which tells whether weights are sound."""
    return (samples if config.train.val_crop_size == AUTO else validation_samples(config, AUTO))[0]


def unseen(picture: Tensor) -> None:
    """Nobody looks at pictures."""


@torch.no_grad()
def validate(
    model: nn.Module,
    samples: Subset,
    config: Config,
    processes: Processes,
    show: Callable[[Tensor], object] = unseen,
) -> dict[str, float]:
    """Means of `METRICS` over all frames (RGB) of the samples, which are divided among the processes.

    Those of the blurred input, which a model has to surpass, begin with `BLURRED`. `show` is given a picture (3,H,W) of
    the first sample's middle frame: blurred, restored and sharp side by side.
    """
    mine = Subset(samples, range(processes.rank, len(samples), processes.world))
    restorer = WindowRestorer(model, config, processes.device)
    names = [prefix + name for prefix in ("", BLURRED) for name in METRICS]
    totals = torch.zeros(len(names) + 1, dtype=torch.float64, device=processes.device)
    model.eval()
    for number, raw in enumerate(load(mine, processes.device)):
        blur, sharp = (unit(raw[name].to(processes.device)) for name in ("blur", "sharp"))
        out = restorer.restore_sample(raw).to(processes.device)
        # Infinite values become NaN, which no metric and no comparison can take for a result.
        out = torch.where(out.isinf(), math.nan, out).clamp(0, 1)
        if number == 0:
            show(torch.cat([x[0, len(x[0]) // 2] for x in (blur, out, sharp)], -1).clamp(0, 1))
        pictures = (out, blur)
        values = torch.stack([m.function(x, sharp).sum() for x in pictures for m in METRICS.values()])
        totals[:-1] += values.to(totals)
        totals[-1] += out.shape[0] * out.shape[1]
    model.train()
    *sums, frames = processes.means(totals)
    return {name: total / frames for name, total in zip(names, sums, strict=True)}


@torch.no_grad()
def is_sound(
    model: nn.Module, raw: dict[str, Any], config: Config, device: torch.device, half: torch.dtype | None
) -> Tensor:
    """Whether the model restores a collated batch to finite values, as a bool (0-d) on the device."""
    batch = to_device(raw, device, config.data.norm)
    model.eval()
    with half_precision(model, device, half):
        out = run_model(model, batch.blur, batch.voxels)
    model.train()
    return out.isfinite().all()

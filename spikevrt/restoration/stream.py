"""Restores clips of any length and size in temporal windows of a few frames each."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spikevrt.config import Config
from spikevrt.data.clips.augmentation import Grid
from spikevrt.data.clips.batches import model_input, send
from spikevrt.data.clips.clip import or_shorter_samples
from spikevrt.errors import UserError
from spikevrt.models import run_model
from spikevrt.models.half_weights import half_precision
from spikevrt.restoration.padding import plan_padding
from spikevrt.restoration.sources import Frame, Source
from spikevrt.system.device import half_type
from spikevrt.system.memory import RESTORATION_ADVICE, keep_freed_memory, memory_advice


def window_starts(frames: int, length: int, overlap: int) -> list[int]:
    """First frames of the temporal windows that cover 0 .. frames-1; neighbours share `overlap` frames or more."""
    last = frames - length
    return [*range(0, last, length - overlap), last]


class Restorer:
    """Applies a model to clips, one temporal window of CLIP_LEN frames after the other.

    Args:
        model: a model with its weights.
        config: its configuration; DATA.CLIP_LEN and TEST.CLIP_OVERLAP define the temporal windows.
        device: where it runs.
    """

    def __init__(self, model: nn.Module, config: Config, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.config = config
        self.device = device
        self.half = half_type(device, config.train.mixed_precision)
        if device.type == "cpu":
            keep_freed_memory()

    def restore(self, source: Source, frames: Iterator[Frame] | None = None) -> Iterator[Tensor]:
        """Restored frames (3,H,W), float32 in [0,1] on the CPU, in order; where windows overlap, they are averaged.

        Args:
            source: the clip.
            frames: the clip's frames, if another reader shares them; None = decode them.

        Raises:
            UserError: at once if the clip is shorter than a temporal window, or has no spikes and the model needs them;
                while iterating if memory runs out.
        """
        self._check(source)
        return self._restore(source, iter(source) if frames is None else frames)

    def _restore(self, source: Source, frames: Iterator[Frame]) -> Iterator[Tensor]:
        length, overlap = self.config.data.clip_len, self.config.test.clip_overlap
        with memory_advice(RESTORATION_ADVICE):
            yield from self._windows(source, frames, window_starts(len(source), length, overlap))

    def _check(self, source: Source) -> None:
        length = self.config.data.clip_len
        if len(source) < length:
            raise UserError(
                f"{source.label}: {len(source)} frames, fewer than DATA.CLIP_LEN = {length} of the model; "
                f"give a longer clip{or_shorter_samples(len(source))}"
            )
        if self.config.model.use_spike and source.spikes is None:
            raise UserError(
                f"{source.label}: the model needs spikes, and none were given; name their folder (--spikes)"
            )

    def _windows(self, source: Source, frames: Iterator[Frame], starts: list[int]) -> Iterator[Tensor]:
        length = self.config.data.clip_len
        held: dict[int, Frame] = {}
        sums: dict[int, Tensor] = {}
        counts: dict[int, int] = {}
        for start, following in zip(starts, [*starts[1:], len(source)], strict=True):
            held = {i: held[i] if i in held else next(frames) for i in range(start, start + length)}
            for i, restored in zip(held, self._window(list(held.values()), source.grid), strict=True):
                sums[i] = sums[i] + restored if i in sums else restored
                counts[i] = counts.get(i, 0) + 1
            # No later window starts before the next one, so these frames are final.
            for i in range(start, following):
                yield (sums.pop(i) / counts.pop(i)).clamp(0, 1)

    @torch.no_grad()
    def _window(self, frames: list[Frame], grid: Grid) -> Tensor:
        """Restore one temporal window: T frames -> (T,3,H,W) float32 on the CPU."""
        blur = torch.stack([frame.blur for frame in frames])
        window, use_spike = self.config.model.window_size, self.config.model.use_spike
        padding = plan_padding((blur.shape[-2], blur.shape[-1]), window, (grid if use_spike else Grid()).ratio)
        raw = {"blur": padding.frames(blur)}
        if use_spike:
            counted = [frame.voxels(self.config.data) for frame in frames]
            counts, bin_frames = (torch.stack(parts) for parts in zip(*counted, strict=True))
            raw |= {"counts": padding.spikes(counts), "bin_frames": bin_frames}
        batch = send({name: x[None] for name, x in raw.items()}, self.device)
        rgb, voxels = model_input(batch, self.config.data.norm)
        with half_precision(self.model, self.device, self.half):
            restored = run_model(self.model, rgb, voxels)[0]
        return padding.crop(restored).float().cpu()

"""Restores clips of any length and size in temporal windows of a few frames each."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from spikevrt.config import Config
from spikevrt.data.clips.augmentation import Grid
from spikevrt.errors import UserError, warn
from spikevrt.restoration.pipeline import ahead
from spikevrt.restoration.sources import Frame, Source
from spikevrt.restoration.time_windows import Blend, time_windows
from spikevrt.restoration.window import WindowRestorer
from spikevrt.system.memory import RESTORATION_ADVICE, keep_freed_memory, memory_advice


def every_frame(number: int) -> bool:
    """All frames of a clip are wanted."""
    return True


class Restorer:
    """Applies a model to clips, one temporal window of CLIP_LEN frames after the other.

    Args:
        model: a model with its weights.
        config: its configuration; DATA.CLIP_LEN and TEST say how clips and frames are cut.
        device: where it runs.
    """

    def __init__(self, model: nn.Module, config: Config, device: torch.device) -> None:
        self.config = config
        self.window = WindowRestorer(model.to(device).eval(), config, device)
        if device.type == "cpu":
            keep_freed_memory()

    def restore(
        self, source: Source, frames: Iterator[Frame] | None = None, wanted: Callable[[int], bool] = every_frame
    ) -> Iterator[Tensor]:
        """Restored frames (3,H,W), float32 in [0,1] on the CPU, in order; where windows overlap, they are blended.

        What a frame becomes does not depend on the others that are wanted.

        Args:
            source: the clip; one of fewer than CLIP_LEN frames is restored as if it went back and forth.
            frames: the clip's frames, if another reader shares them; None = decode them.
            wanted: says for the number of a frame, from 0, whether it is restored.

        Raises:
            UserError: at once if the clip has no spikes and the model needs them; while iterating if memory runs out.
        """
        if self.config.model.use_spike and source.spikes is None:
            raise UserError(
                f"{source.label}: the model needs spikes, and none were given; name their folder (--spikes)"
            )
        length = self.config.data.clip_len
        if len(source) < length:
            warn(
                source.label,
                f"{len(source)} of the DATA.CLIP_LEN = {length} frames that the model takes at once; they are repeated",
            )
        # Readers that share pictures have to advance together.
        read = self._read_ahead(source) if frames is None else frames
        return self._restore(read, source.grid, wanted, len(source))

    def _read_ahead(self, source: Source) -> Iterator[Frame]:
        """The frames of a clip; another thread decodes them and counts their spikes while the model computes."""

        def counted() -> Iterator[Frame]:
            for frame in source:
                if self.config.model.use_spike:
                    frame.voxels(self.config.data)
                yield frame

        return ahead(counted(), self.config.data.clip_len)

    def _restore(
        self, frames: Iterator[Frame], grid: Grid, wanted: Callable[[int], bool], count: int | None
    ) -> Iterator[Tensor]:
        length, overlap = self.config.data.clip_len, self.config.test.clip_overlap
        blend, done = Blend(length), 0
        self.window.forget()
        with memory_advice(RESTORATION_ADVICE):
            for window in time_windows(frames, length, overlap, count):
                if any(map(wanted, range(window.start, window.start + length))):
                    blend.add(window.start, self.window.restore(window.start, window.frames, grid))
                for number in range(done, window.final):
                    frame = blend.take(number)
                    if frame is not None and wanted(number):
                        yield frame.clamp(0, 1)
                done = window.final

"""Restores clips of any length and size in temporal windows of a few frames each."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from spikevrt.config import Config
from spikevrt.config.limits import MULTIPLE
from spikevrt.data.clips.augmentation import Grid, require_size
from spikevrt.errors import UserError, warn
from spikevrt.models import load_trained_model
from spikevrt.models.vrt import Flows
from spikevrt.restoration.arrays import Array, Kind, Spikes, frame_in_memory, length_of, pair_of, spikes_of
from spikevrt.restoration.pipeline import ahead
from spikevrt.restoration.sources import Frame, Source
from spikevrt.restoration.time_windows import Blend, time_windows
from spikevrt.restoration.window import WindowRestorer
from spikevrt.system.device import choose_device, settle_float32
from spikevrt.system.memory import RESTORATION_ADVICE, keep_freed_memory, memory_advice


class Restorer:
    """Restores frames with a trained model: arrays in memory, streams, or clips from files.

    Frames may have any size and number. They are padded, cut into tiles where memory is short, and computed in temporal
    windows of DATA.CLIP_LEN frames; neighbouring tiles and windows are blended. What a frame becomes depends on its
    neighbours in time and on nothing else.

    Args:
        model: a model with its weights.
        config: its configuration; DATA.CLIP_LEN and TEST say how clips and frames are cut.
        device: where it runs.
    """

    scale = 1
    """Height and width of a restored frame, in those of the frame."""

    def __init__(self, model: nn.Module, config: Config, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.window = WindowRestorer(model.to(device).eval(), config, device)
        if device.type == "cpu":
            keep_freed_memory()

    @classmethod
    def from_pretrained(cls, path: str | Path, options: Sequence[str] = (), device: str | None = None) -> Self:
        """A restorer with the weights of a file.

        Args:
            path: a checkpoint, for example `runs/first/best.pt`, or a name of `spikevrt.weights`, as `tiny`.
            options: `KEY=VALUE` changes to its configuration, for example `["TEST.TILE_SIZE=256"]`.
            device: `cuda:N` or `cpu`; None = CUDA if there is a GPU.

        Raises:
            UserError: the file cannot be used, or the device is not there.
        """
        place = choose_device(device)
        settle_float32()
        options = [options] if isinstance(options, str) else options
        return cls(*load_trained_model(path, options, None, place), place)

    @property
    def needs_spikes(self) -> bool:
        """Whether the model takes spikes beside the frames."""
        return self.config.model.use_spike

    @property
    def frames_at_once(self) -> int:
        """Frames of a temporal window; fewer are repeated."""
        return self.config.data.clip_len

    @property
    def multiple(self) -> int:
        """Height and width to which frames are padded are multiples of this, or of more where spikes ask for it."""
        return MULTIPLE

    @property
    def precision(self) -> torch.dtype:
        """The type of products and convolutions."""
        return self.window.half or torch.float32

    @property
    def tiles(self) -> str | None:
        """How the last frames were cut, for people; None = they stayed whole."""
        tiling = self.window.last
        return None if tiling is None or tiling.whole else str(tiling)

    def __call__(self, frames: Array | Sequence[Array], spikes: Sequence[Spikes] | Array | None = None) -> Any:
        """Restore frames in memory.

        Args:
            frames: (T,H,W,3) or (T,3,H,W), an array, a tensor or a sequence of frames; uint8, or floats in [0,1]. RGB.
            spikes: for each frame the spikes of its exposure (n,h,w), bool or uint8 of 0 and 1, row 0 on top; n may
                differ. They show the view of the frames, at any resolution. None for a model without spikes.

        Returns:
            Restored frames like those given: the same shape and kind, an array or a tensor (float64 becomes float32).

        Raises:
            UserError: frames or spikes have a wrong shape or type, or do not belong together; memory runs out.
        """
        count = length_of("frames", frames)
        if count == 0:
            return frames
        if spikes is not None and length_of("spikes", spikes) != count:
            raise UserError(f"{len(spikes)} exposures of spikes beside {count} frames; give one for each frame")
        pairs = zip(frames, [None] * count if spikes is None else spikes, strict=True)
        self.warn_if_short("frames", count)
        restored: list[Any] = list(self._restored(pairs, count))
        return torch.stack(restored) if isinstance(restored[0], Tensor) else np.stack(restored)

    def stream(self, frames: Iterable[Array | tuple[Array, Array]]) -> Iterator[Array]:
        """Restore a stream of any length; a result comes when no later frame can change it.

        Args:
            frames: frames (H,W,3) or (3,H,W), or pairs of a frame and its spikes (n,h,w); as in `__call__`.
        """
        return self._restored(map(pair_of, frames), None)

    def _restored(self, pairs: Iterable[tuple[Array, Array | None]], count: int | None) -> Iterator[Array]:
        """Restored frames like those of `pairs`, of which there are `count`, if it is known."""
        pairs = iter(pairs)
        first = next(pairs, None)
        if first is None:
            return
        kind = Kind.of(first[0])
        size, grid, spiking = kind.size(first[0]), Grid(), (0, 0)
        if self.needs_spikes:
            spiking = spikes_of(first[1]).shape[-2:]
            grid = Grid.of(size, spiking)

        def read() -> Iterator[Frame]:
            for number, (picture, spikes) in enumerate(chain([first], pairs)):
                frame = kind.read(picture)
                require_size(tuple(frame.shape[-2:]), size, f"frame {number}")
                exposed = None
                if self.needs_spikes:
                    exposed = spikes_of(spikes)
                    require_size(exposed.shape[-2:], spiking, f"spikes of frame {number}")
                yield frame_in_memory(frame, exposed)

        for frame in self._restore(read(), grid, None, count):
            yield kind.write(frame)

    def restore(
        self, source: Source, frames: Iterator[Frame] | None = None, wanted: Collection[int] | None = None
    ) -> Iterator[Tensor]:
        """Restored frames (3,H,W) of a clip in files, float32 in [0,1] on the CPU, in order.

        What a frame becomes does not depend on the others that are wanted.

        Args:
            source: the clip; one of fewer than CLIP_LEN frames is restored as if it went back and forth.
            frames: the clip's frames, if another reader shares them; None = decode them.
            wanted: numbers, from 0, of the frames that are restored; None = all.

        Raises:
            UserError: at once if the clip has no spikes and the model needs them; while iterating if memory runs out.
        """
        if self.needs_spikes and source.spikes is None:
            raise UserError(
                f"{source.label}: the model needs spikes, and none were given; name their folder (--spikes)"
            )
        self.warn_if_short(source.label, len(source))
        # Readers that share pictures have to advance together.
        numbers = range(len(source)) if wanted is None else frozenset(wanted)
        read = self._read_ahead(source, numbers) if frames is None else frames
        return self._restore(read, source.grid, numbers, len(source))

    def warn_if_short(self, label: str, count: int) -> None:
        """Warn if a clip of `count` frames does not fill a temporal window."""
        length = self.frames_at_once
        if count < length:
            warn(label, f"{count} of the DATA.CLIP_LEN = {length} frames that the model takes; they are repeated")

    def _read_ahead(self, source: Source, wanted: Collection[int]) -> Iterator[Frame]:
        """The frames of a clip; another thread decodes them and counts their spikes while the model computes."""
        length = self.frames_at_once
        needed = range(min(wanted, default=0) - length, max(wanted, default=0) + length)

        def counted() -> Iterator[Frame]:
            for number, frame in enumerate(source):
                if self.needs_spikes and number in needed:
                    frame.voxels(self.config.data)
                yield frame

        return ahead(counted(), length)

    def _restore(
        self, frames: Iterator[Frame], grid: Grid, wanted: Collection[int] | None, count: int | None
    ) -> Iterator[Tensor]:
        length, overlap = self.frames_at_once, self.config.test.clip_overlap
        blend, done, last = Blend(length), 0, None if wanted is None else max(wanted, default=-1)
        flows: dict[int, Flows] = {}
        with memory_advice(RESTORATION_ADVICE):
            for window in time_windows(frames, length, overlap, count):
                if wanted is None or any(i in wanted for i in range(window.start, window.start + length)):
                    blend.add(window.start, self.window.restore(window.start, window.frames, grid, flows))
                for number in range(done, window.final):
                    frame = blend.take(number)
                    if frame is not None and (wanted is None or number in wanted):
                        yield frame.clamp(0, 1)
                done = window.final
                if last is not None and done > last:
                    return

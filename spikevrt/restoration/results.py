"""Writes restored frames: PNGs in a folder, or a video; what was written before a kill is kept where it is wanted."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, distributed

from spikevrt.data.files.atomic import remove_leftovers
from spikevrt.data.files.images import checked_size, png_depth, read_image, write_png
from spikevrt.data.files.video_writing import Quality, Writer, video_writer
from spikevrt.errors import UserError, warn
from spikevrt.restoration.comparison import to_bytes, to_levels
from spikevrt.restoration.pipeline import behind

FRAMES = ".frames"
"""Ends the name of the folder beside a video that holds its frames until all are there."""
WAITING = 4
"""Frames that wait for the disk or the encoder, at most."""
Write = Callable[[Tensor], None]


PATIENCE = timedelta(days=30)
"""How long a process waits for the others."""


class Share(NamedTuple):
    """This process among those that restore one clip together, as torchrun says."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """Its number on this machine, and that of its GPU."""

    def of(self, numbers: range) -> range:
        """Its part of successive frames: neighbours share windows of time, so parts are not interleaved."""
        first, last = (len(numbers) * i // self.world for i in (self.rank, self.rank + 1))
        return numbers[first:last]

    @contextmanager
    def together(self) -> Iterator[None]:
        """While active, `wait` works."""
        if self.world == 1:
            yield
            return
        distributed.init_process_group("gloo", timeout=PATIENCE)
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            distributed.barrier()


ALONE = Share()


@dataclass(frozen=True)
class Results:
    """Where the restored frames of a clip go.

    Args:
        out: a folder, or a video.
        names: of all frames of the clip; PNGs are called so.
        part: the numbers of the frames that are restored.
        like: the clip: a video gives its times, sound, aspect and colours to a video.
        quality: of a video; None = `out` is a folder.
        fps: frames per second of a video; None = those of `like`.
        deep: whether PNGs have 16 bits a channel.
        keep: whether what is restored survives a kill, and what did is not restored again.
        share: this process among several.
    """

    out: Path
    names: Sequence[str]
    part: range
    like: Path
    quality: Quality | None = None
    fps: float | None = None
    deep: bool = False
    keep: bool = False
    share: Share = ALONE

    @property
    def folder(self) -> Path | None:
        """Where PNGs go; None if frames go into a video at once."""
        if self.quality is None:
            return self.out
        return self.out.with_name(self.out.name + FRAMES) if self.keep or self.share.world > 1 else None

    def picture(self, number: int) -> Path:
        """The PNG of a frame."""
        assert self.folder is not None
        return self.folder / f"{self.names[number]}.png"

    def places(self) -> Iterator[Path]:
        """All that is replaced or removed; a single picture may be restored into its own folder."""
        yield self.out
        if self.folder is not None:
            yield self.folder
            yield self.picture(self.part[0])

    def begin(self) -> None:
        """Remove what another run has left of a video's frames, unless it is kept; all processes are here then."""
        if self.share.rank == 0 and self.quality is not None and self.folder is not None and not self.keep:
            self._remove_frames()
        self.share.wait()

    def missing(self, size: tuple[int, int]) -> list[int]:
        """The frames that this process has to restore.

        Args:
            size: (H,W) of the frames.

        Raises:
            UserError: a picture that should be kept is of another run.
        """
        mine = self.share.of(self.part)
        return [i for i in mine if not (self.keep and self.folder is not None and self._is_there(i, size))]

    def _is_there(self, number: int, size: tuple[int, int]) -> bool:
        """Whether the PNG of a frame is there and whole, with `size` (H,W)."""
        file = self.picture(number)
        if not file.is_file():
            return False
        try:
            found = *checked_size(file), png_depth(file)
        except UserError:
            warn(file, "is damaged; this frame is restored again")
            return False
        wanted = *size, 16 if self.deep else 8
        if found != wanted:
            (height, width, bits), (H, W, depth) = found, wanted
            raise UserError(
                f"{file}: has {height}x{width} pixels of {bits} bits where this run makes {H}x{W} of {depth}; remove "
                "what is of another run, or name another --out"
            )
        return True

    @contextmanager
    def writing(self, numbers: Sequence[int]) -> Iterator[Write]:
        """Accept the frames `numbers` (3,H,W), in [0,1], in order; another thread writes them.

        A video appears once it is complete, PNGs appear one by one.
        """
        if self.folder is None:
            with self._video() as video:

                def add(frame: Tensor) -> None:
                    video(to_bytes(frame))

                with behind(add, WAITING) as write:
                    yield write
            return
        following = iter(numbers)

        def save(frame: Tensor) -> None:
            write_png(self.picture(next(following)), to_words(frame) if self.deep else to_bytes(frame))

        with behind(save, WAITING) as write:
            yield write
        self.share.wait()
        if self.quality is not None and self.share.rank == 0:
            self._join()

    def _video(self) -> AbstractContextManager[Writer]:
        assert self.quality is not None
        return video_writer(self.out, self.fps, self.like, self.quality, self.part)

    def _join(self) -> None:
        """Make the video of the frames in the folder, and remove them."""
        assert self.folder is not None
        with self._video() as add:
            for i in self.part:
                add(read_image(self.picture(i)))
        self._remove_frames()

    def _remove_frames(self) -> None:
        """Remove the folder of a video's frames, unless it holds something else."""
        assert self.folder is not None
        if not self.folder.is_dir():
            return
        for number in range(len(self.names)):
            self.picture(number).unlink(missing_ok=True)
        remove_leftovers(self.folder)
        with suppress(OSError):
            self.folder.rmdir()


def to_words(frame: Tensor) -> NDArray[np.uint16]:
    """Convert (3,H,W) in [0,1] to uint16 (H,W,3), rounded."""
    return to_levels(frame, 65535, np.uint16)

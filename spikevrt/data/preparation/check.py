"""Finds what is wrong with an existing data set, file by file."""

from collections.abc import Callable, Iterator
from pathlib import Path

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import Clip, all_clips, open_clip, white_rate
from spikevrt.data.files.images import read_image
from spikevrt.data.preparation.match import similarity_problems
from spikevrt.errors import UserError


def problems(root: Path, data: DataConfig, progress: Callable[[], None] = lambda: None) -> Iterator[str]:
    """One line for each problem below `<root>/<split>/<clip>`; every file is read."""
    try:
        clips = all_clips(root, data)
    except UserError as error:
        yield str(error)
        return
    for folder in clips:
        try:
            clip = open_clip(folder, data)
        except UserError as error:
            yield str(error)
            continue
        if len(clip.stems) < data.clip_len:
            yield f"{folder}: {len(clip.stems)} frames, fewer than DATA.CLIP_LEN = {data.clip_len}"
        yield from clip_problems(clip, data, progress)


def clip_problems(clip: Clip, data: DataConfig, progress: Callable[[], None]) -> Iterator[str]:
    """Files of one clip that cannot be decoded, differ in size, are incomplete, or do not belong together."""
    try:
        white_rate(clip.folder)
    except UserError as error:
        yield str(error)
    try:
        _ = clip.grid
    except UserError as error:
        yield f"{clip.folder}: {error}"
    for stem in clip.stems:
        for path in (clip.blurred[stem], clip.sharp[stem]):
            yield from picture_problems(path, clip.frame_size)
        if clip.spikes is not None:
            try:
                clip.spikes.recording(stem).exposure(data.spike_time_offset)
            except UserError as error:
                yield str(error)
        progress()
    if clip.spikes is not None:
        yield from similarity_problems(clip, clip.spikes, data)


def picture_problems(path: Path, size: tuple[int, int]) -> Iterator[str]:
    """A picture that cannot be decoded or has another size."""
    try:
        found = read_image(path).shape[:2]
    except UserError as error:
        yield str(error)
        return
    if found != size:
        yield f"{path}: {found[0]}x{found[1]} pixels, the clip's first frame has {size[0]}x{size[1]}"

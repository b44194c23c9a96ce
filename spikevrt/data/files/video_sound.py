"""Copies the sound of a video into another one, packet by packet, or names why it cannot be."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

from spikevrt.data.files.video_decoding import open_container, require_av, start_of
from spikevrt.errors import warn


class Sound:
    """Copies the sound of a video beside its frames, packet by packet.

    Args:
        packets: sound in order of time, as (seconds, packet); none by default.
        container: PyAV's container to write to.
    """

    def __init__(self, packets: Iterable[tuple[Fraction, Any]] = (), container: Any = None) -> None:
        self._packets = iter(packets)
        self._container = container
        self._next = next(self._packets, None)

    @classmethod
    def of(cls, source: Any, container: Any, path: Path) -> "Sound":
        """The sound of PyAV's container `source`; a warning names what the written container cannot hold."""
        copies = {}
        for stream in source.streams.audio:
            if stream.codec_context is None:
                warn(path, "its sound is of an unknown kind and is not copied")
            elif can_hold(container.format.name, path, stream.index):
                copies[stream.index] = container.add_stream_from_template(stream)
            else:
                warn(path, f"its sound ({stream.codec_context.name}) has no place in the written video: use .mkv")
        if source.streams.subtitles:
            warn(path, "its subtitles are not copied")
        return cls(shifted(source, copies), container) if copies else cls()

    def copy(self, until: Fraction | None = None) -> None:
        """Write the sound up to a time in seconds; None = all of it."""
        while self._next is not None and (until is None or self._next[0] <= until):
            self._container.mux(self._next[1])
            self._next = next(self._packets, None)


def shifted(source: Any, copies: dict[int, Any]) -> Iterator[tuple[Fraction, Any]]:
    """The packets of some streams for their copies, with times that count from the start of the file."""
    start = start_of(source)
    for packet in source.demux([source.streams[index] for index in copies]):
        if packet.dts is None:
            continue
        base = Fraction(packet.time_base.numerator, packet.time_base.denominator)
        shift = round(start / base)
        packet.pts, packet.dts = (packet.dts if packet.pts is None else packet.pts) - shift, packet.dts - shift
        packet.stream = copies[packet.stream.index]
        yield packet.dts * base, packet


def can_hold(container: str, path: Path, index: int) -> bool:
    """Whether a kind of container takes a copy of a stream of the file `path`; only writing a part of it tells."""
    av = require_av()
    try:
        with open_container(path) as source, av.open(BytesIO(), "w", format=container) as trial:
            stream = source.streams[index]
            _, packet = next(shifted(source, {index: trial.add_stream_from_template(stream)}))
            trial.mux(packet)
    except StopIteration:
        return True
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def left_out(source: Any, path: Path, why: str) -> Sound:
    """No sound; a warning says so, and why, if there is some."""
    if source.streams.audio:
        warn(path, f"its sound is left out, {why}")
    return Sound()

"""Describes a recording in lines of text and one picture."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shlex import quote

from spikevrt.data.files.images import read_image, to_grey
from spikevrt.data.files.similarity import SIMILAR, similarity
from spikevrt.data.identification.ranking import Candidate, rank
from spikevrt.data.identification.views import draw, spikes_per_frame
from spikevrt.data.spikes.geometry import read_recording_config
from spikevrt.data.spikes.methods import WINDOWS
from spikevrt.data.spikes.npz import is_array
from spikevrt.data.spikes.playback import middle_firing
from spikevrt.data.spikes.recording import SpikeFile

SHOWN_CANDIDATES = 5
CLEAR_SCORE = 0.6
"""A score from which a candidate certainly is a picture."""
CLEAR_LEAD = 0.05
"""Lead over the second candidate from which the choice is clear."""


def describe(path: Path, candidates: list[Candidate], picture: Path | None, png: Path) -> Iterator[str]:
    """Lines about the file and its most likely geometry; also writes the PNG."""
    best = candidates[0]
    geometry = best.geometry
    yield f"{path}: {path.stat().st_size} bytes"
    if is_array(path):
        yield f"geometry: {geometry}, {best.frames} frames, as the file itself says"
    else:
        yield from ranking(candidates)
    yield from recorded_size(path, best)
    counts = spikes_per_frame(path, geometry, best.frames)
    pixels = geometry.height * geometry.width
    rates = counts / pixels
    yield f"firing rate {rates.mean():.6f} (frames {rates.min():.4f} to {rates.max():.4f})"
    yield f"spikes per frame {counts.mean():.1f} of {pixels} pixels (frames {counts.min()} to {counts.max()})"
    file = SpikeFile(path, geometry)
    views = {f"{method.upper()}, rows as stored": middle_firing(file, method) for method in WINDOWS}
    flip = None
    if picture is None:
        yield "flip: unknown; only a picture of the scene tells (--picture GT)"
    else:
        as_stored, flipped = similarity(to_grey(read_image(picture)), views["TFP, rows as stored"])
        if max(as_stored, flipped) >= SIMILAR:
            flip = flipped > as_stored
        stated = "unknown" if flip is None else str(flip).lower()
        yield f"flip: {stated}; correlation of the TFP picture with {picture.name}:"
        yield f"  {as_stored:.4f} with rows as stored, {flipped:.4f} upside down"
        if flip is None:
            yield "  neither is similar: another scene, another moment, or another geometry"
    if flip:
        views = {title.replace("as stored", "upright"): view[::-1] for title, view in views.items()}
    draw(png, views, rates)
    yield f"pictures: {png}"
    yield from advice(path, best, flip)


def ranking(candidates: list[Candidate]) -> Iterator[str]:
    """The table of candidates, what its scores mean, and whether the choice is clear."""
    yield f"{'geometry':>22} {'frames':>8} {'score':>7}"
    for candidate in candidates[:SHOWN_CANDIDATES]:
        note = "  known" if candidate.is_known else ""
        yield f"{candidate.geometry!s:>22} {candidate.frames:8} {candidate.score:7.3f}{note}"
    if len(candidates) > SHOWN_CANDIDATES:
        yield f"{'':>22} and {len(candidates) - SHOWN_CANDIDATES} less likely"
    best, *others = candidates
    yield "score: 1 = the frames show one smooth picture, 0 = noise; known = a common camera or data set has this size"
    if not others:
        yield "no other geometry fits"
        return
    lead = best.score - others[0].score
    if best.score < CLEAR_SCORE or lead < CLEAR_LEAD:
        yield (
            f"not sure: no candidate stands out (by a score from {CLEAR_SCORE}, and {CLEAR_LEAD} above the next); look "
            "at the pictures, or give --height and --width"
        )
    else:
        yield f"sure: {best.geometry} is a picture, and {lead:.3f} above the next"


def recorded_size(path: Path, best: Candidate) -> Iterator[str]:
    """A line if a `config.yaml` in the same folder names another size."""
    size = read_recording_config(path.parent / "config.yaml")
    if size is not None and size != (best.geometry.height, best.geometry.width):
        yield f"config.yaml beside it says {size[0]}x{size[1]}, which does not look right: give the geometry yourself"


def advice(path: Path, best: Candidate, flip: bool | None) -> Iterator[str]:
    """Lines with the options that read the file with this geometry, and with the command that plays it."""
    geometry = replace(best.geometry, flip=bool(flip))
    options = [f"DATA.SPIKE_FORMAT={geometry.format}"]
    options += [f"DATA.SPIKE_HEIGHT={geometry.height}", f"DATA.SPIKE_WIDTH={geometry.width}"]
    options += [f"DATA.SPIKE_FLIP={str(flip).lower()}"] if flip is not None else []
    yield f"read it with: --opts {' '.join(options)}"
    yield f"play it with: python -m spikevrt.playback {quote(str(path))} --out pictures --opts {' '.join(options)}"


def identify(
    path: Path, height: int | None, width: int | None, format: str | None, picture: Path | None, png: Path
) -> Iterator[str]:
    """All lines about `path`; writes the PNG `png`."""
    yield from describe(path, rank(path, height, width, format), picture, png)

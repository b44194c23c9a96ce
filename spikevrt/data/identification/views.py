"""Draws what a recording shows: TFP and TFI pictures, and the firing rate over time, in one PNG."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from spikevrt.data.files.images import write_png
from spikevrt.data.identification.ranking import read_frames
from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.data.spikes.recording import SpikeFile
from spikevrt.data.spikes.tfp import mean_firing, middle_span

BLOCK = 64
"""Frames that are read at a time."""
TFP_SPAN = 41
TFI_SPAN = 401
"""Frames around the middle in which the spikes before and after it are searched."""
SPIKES_OF = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)
PLOT_HEIGHT, MARGIN, LINE = 160, 12, 14
INK, PAPER, CURVE = (20, 20, 20), (255, 255, 255), (0, 90, 180)
Picture = NDArray[np.float32]


def spikes_per_frame(path: Path, geometry: SpikeGeometry, frames: int) -> NDArray[np.int64]:
    """(n,) spikes in every frame; long recordings are read in blocks."""
    counts = np.empty(frames, np.int64)
    for start in range(0, frames, BLOCK):
        stop = min(start + BLOCK, frames)
        stored = read_frames(path, geometry, slice(start, stop))
        spikes = SPIKES_OF[stored] if geometry.format == "packed" else stored
        counts[start:stop] = spikes.sum(1, dtype=np.int64)
    return counts


def tfp(file: SpikeFile) -> Picture:
    """(H,W) texture from playback: the mean of `TFP_SPAN` frames in the middle of the file, in [0,1]."""
    part = middle_span(file.frames, min(TFP_SPAN, file.frames))
    return mean_firing(file.read(start=part.start, count=part.stop - part.start))


def tfi(file: SpikeFile, middle: int) -> Picture:
    """(H,W) texture from interval: 1 / distance of the spikes before and after `middle`; 0 where one is missing."""
    start = max(middle - TFI_SPAN // 2, 0)
    before = file.read(start=start, count=middle - start + 1)
    after = file.read(start=middle + 1, count=TFI_SPAN // 2)
    last, following = before[::-1].argmax(0), after.argmax(0) if len(after) else 0
    found = before.any(0) & after.any(0)
    return np.where(found, 1.0 / (last + following + 1), 0.0).astype(np.float32)


def draw(path: Path, views: dict[str, Picture], rates: NDArray[np.float64]) -> None:
    """Write a PNG with the views side by side and the firing rate over time below them."""
    height, width = next(iter(views.values())).shape
    side = max(width, 200)
    total = len(views) * (side + MARGIN) + MARGIN
    canvas = Image.new("RGB", (total, height + PLOT_HEIGHT + 4 * MARGIN + 2 * LINE), PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, (title, view) in enumerate(views.items()):
        left = MARGIN + number * (side + MARGIN)
        pen.text((left, MARGIN), title, INK)
        canvas.paste(Image.fromarray(stretched(view)), (left, MARGIN + LINE))
    plot(
        pen,
        (MARGIN, height + 2 * MARGIN + 2 * LINE, total - MARGIN, height + 2 * MARGIN + 2 * LINE + PLOT_HEIGHT),
        rates,
    )
    write_png(path, np.asarray(canvas))


def stretched(view: Picture) -> NDArray[np.uint8]:
    """Scale brightness to 0..255; the brightest 0.5% are clipped."""
    top = float(np.quantile(view, 0.995)) or float(view.max()) or 1.0
    return np.rint(np.clip(view / top, 0, 1) * 255).astype(np.uint8)


def plot(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], rates: NDArray[np.float64]) -> None:
    """Draw the (n,) rates as a curve from 0 to slightly above their maximum."""
    left, top, right, bottom = box
    most = float(rates.max(initial=0)) * 1.1 or 1.0
    pen.rectangle(box, outline=INK)
    pen.text(
        (left, top - LINE), f"firing rate, 0 to {most:.3g} spikes per pixel and frame, over {len(rates)} frames", INK
    )
    # One point per column: the mean of the frames that fall into it.
    parts = np.array_split(rates, max(1, min(len(rates), right - left)))
    means = [float(part.mean()) for part in parts]
    xs = np.linspace(left, right, len(means)) if len(means) > 1 else [(left + right) / 2]
    points = [(float(x), bottom - mean / most * (bottom - top)) for x, mean in zip(xs, means, strict=True)]
    if len(points) > 1:
        pen.line(points, CURVE, 1)
    else:
        pen.point(points, CURVE)

"""Draws what is known of a recording: its pictures, and the firing rate over time, in one PNG."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from spikevrt.data.files.images import write_png
from spikevrt.data.identification.ranking import read_frames
from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.data.spikes.tfp import as_picture, white_of

BLOCK = 64
"""Frames that are read at a time."""
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


def draw(path: Path, views: dict[str, Picture], rates: NDArray[np.float64]) -> None:
    """Write a PNG with views (h,w) of firing rates side by side, each with its own white, and the curve below them."""
    height, width = next(iter(views.values())).shape
    side = max(width, 200)
    total = len(views) * (side + MARGIN) + MARGIN
    canvas = Image.new("RGB", (total, height + PLOT_HEIGHT + 4 * MARGIN + 2 * LINE), PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, (title, view) in enumerate(views.items()):
        left = MARGIN + number * (side + MARGIN)
        pen.text((left, MARGIN), title, INK)
        canvas.paste(Image.fromarray(as_picture(view, white_of(view))), (left, MARGIN + LINE))
    plot(
        pen,
        (MARGIN, height + 2 * MARGIN + 2 * LINE, total - MARGIN, height + 2 * MARGIN + 2 * LINE + PLOT_HEIGHT),
        rates,
    )
    write_png(path, np.asarray(canvas))


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

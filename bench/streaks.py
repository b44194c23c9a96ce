"""`python -m bench.streaks`: blur made of interpolated sub-frames beside the exact blur of scenes that are known."""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.cli import command_parser, path, run_command
from spikevrt.data.files.images import write_png
from spikevrt.data.files.video import Frame, read_frames
from spikevrt.data.simulation.interpolation import subframes
from spikevrt.table import format_table

DESCRIPTION = """Blur of a moving edge, a moving disc and small things that move before a still background.

  python -m bench.streaks --picture docs/images/streaks.png
  python -m bench.streaks --video bikes.mp4      # also: how well frames that are left out are found again

PSNR in dB of the mean of 40 sub-frames between 6 frames against the exact blur; `ghosts`: how many copies of a small
thing its blur shows (1 = a streak).
"""
H, W, MARGIN, FACTOR, EXPOSURE = 96, 160, 100, 8, 5
"""Pixels of the scenes and around them, sub-frames per frame, frames of an exposure."""
GREY = {"behind": 60.0, "front": 220.0}
SCENES = {
    "edge, flat": ("edge", True),
    "edge, textured": ("edge", False),
    "disc, flat": ("disc", True),
    "disc, textured": ("disc", False),
    "walker": ("walker", False),
    "dart": ("dart", False),
}
SPEEDS = {"edge": (9, 0), "disc": (11, 4), "walker": (6, 0), "dart": (12, 0)}
"""Pixels per frame to the right and down."""
SMALL = {"walker": (8, 20), "dart": (4, 8)}
"""Width and height of small things: a person far away, and what leaps by three times its width from frame to frame."""


def texture(seed: int, smooth: int = 8) -> NDArray[np.float64]:
    """(H+2M,W+2M,3) of noise, 0..255, interpolated between values `smooth` pixels apart."""
    size = H + 2 * MARGIN, W + 2 * MARGIN
    coarse = np.random.default_rng(seed).uniform(0, 255, (size[0] // smooth + 2, size[1] // smooth + 2, 3))
    rows, columns = (np.arange(side) / smooth for side in size)
    i, j = rows.astype(int), columns.astype(int)
    a, b = (rows - i)[:, None, None], (columns - j)[None, :, None]
    upper = coarse[i][:, j] * (1 - b) + coarse[i][:, j + 1] * b
    lower = coarse[i + 1][:, j] * (1 - b) + coarse[i + 1][:, j + 1] * b
    return upper * (1 - a) + lower * a


BEHIND, FRONT = texture(1), texture(2)


def moved(x: NDArray[np.float64], right: float, down: float) -> NDArray[np.float64]:
    """The middle (H,W,3) of a texture that was moved by fractions of a pixel."""
    i, j = int(np.floor(down)), int(np.floor(right))
    a, b = down - i, right - j

    def at(di: int, dj: int) -> NDArray[np.float64]:
        top, left = MARGIN - i - di, MARGIN - j - dj
        return x[top : top + H, left : left + W]

    return (1 - a) * ((1 - b) * at(0, 0) + b * at(0, 1)) + a * ((1 - b) * at(1, 0) + b * at(1, 1))


def scene(kind: str, flat: bool, time: float) -> NDArray[np.float64]:
    """Something (H,W,3) that moves before a background that stands still, with soft borders of a pixel.

    Args:
        kind: of `SPEEDS`; those of `SMALL` are dark, before a weak texture.
        flat: whether surfaces have one grey value each.
        time: in frames.
    """
    y, x = np.mgrid[:H, :W].astype(float)
    right, down = (speed * time for speed in SPEEDS[kind])
    if kind == "edge":
        away = x - 30 - right
    elif kind == "disc":
        away = np.hypot(x - 40 - right, y - 40 - down) - 16
    else:
        away = np.maximum(np.abs(x - 40 - right) - SMALL[kind][0] / 2, np.abs(y - H / 2 - down) - SMALL[kind][1] / 2)
    behind = np.full((H, W, 3), GREY["behind"]) if flat else moved(BEHIND, 0, 0)
    front = np.full((H, W, 3), GREY["front"]) if flat else moved(FRONT, right, down)
    if kind in SMALL:
        behind, front = 128 + behind / 4, np.zeros((H, W, 3))
    return behind + (front - behind) * np.clip(0.5 - away, 0, 1)[..., None]


def frames_of(kind: str, flat: bool, count: int = EXPOSURE + 1) -> list[Frame]:
    """The frames of a scene as a camera without blur sees them."""
    return [np.rint(scene(kind, flat, i)).astype(np.uint8) for i in range(count)]


def exact_blur(kind: str, flat: bool) -> NDArray[np.float64]:
    """The mean (H,W,3) of what is seen at the times of all sub-frames of an exposure."""
    return np.mean([scene(kind, flat, j / FACTOR) for j in range(EXPOSURE * FACTOR)], 0)


def rendered_blur(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """The mean of sub-frames along optical flow."""
    return np.mean([np.float64(x) for x in subframes(frames, FACTOR)][: EXPOSURE * FACTOR], 0)


def faded_blur(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """The mean of sub-frames that fade from frame to frame."""
    shares = np.arange(FACTOR) / FACTOR
    return np.mean([a * (1 - s) + b * s for a, b in pairwise(map(np.float64, frames)) for s in shares], 0)


def psnr(a: NDArray, b: NDArray) -> float:
    """PSNR in dB of pictures with values 0..255."""
    return float(10 * np.log10(255**2 / np.mean((np.float64(a) - b) ** 2)))


def ghosts(kind: str, blur: NDArray[np.float64]) -> int:
    """How many copies of a small thing a blur shows: stretches where it is darker than half of its darkest place."""
    darker = (scene(kind, False, -8) - blur)[H // 2 - 2 : H // 2 + 2].mean((0, 2))
    dark = darker > darker.max() / 2
    return int(dark[0]) + int((dark[1:] & ~dark[:-1]).sum())


def found_again(source: Path, gap: int = 2, every: int = 17) -> tuple[float, float]:
    """Mean PSNR of frames of a video that were left out, along flow and faded; `gap` frames apart from their pair."""
    frames = list(read_frames(source))
    scores = []
    for i in range(0, len(frames) - gap, every):
        middle, made = frames[i + gap // 2], list(subframes([frames[i], frames[i + gap]], gap))
        scores.append((psnr(made[gap // 2], middle), psnr((np.float64(frames[i]) + frames[i + gap]) / 2, middle)))
    flow, faded = np.mean(scores, 0)
    return float(flow), float(faded)


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.streaks", DESCRIPTION)
    parser.add_argument("--picture", type=path, help="PNG: exact, along flow, faded; a scene a row")
    parser.add_argument("--video", type=path, help="also leave out every second frame of a video, and find it again")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and draw the picture."""
    args = make_parser().parse_args(argv)
    rows, pictures = [], []
    for name, (kind, flat) in SCENES.items():
        frames, exact = frames_of(kind, flat), exact_blur(kind, flat)
        blurs = rendered_blur(frames), faded_blur(frames)
        counts = [str(ghosts(kind, blur)) if kind in SMALL else "" for blur in blurs]
        rows.append((name, *(f"{psnr(blur, exact):.1f}" for blur in blurs), *counts))
        pictures.append(np.concatenate([exact, *blurs], 1))
    print(format_table(("scene", "flow", "linear", "ghosts, flow", "ghosts, linear"), rows))
    if args.video:
        print("frames that were left out: {:.2f} dB along flow, {:.2f} faded".format(*found_again(args.video)))
    if args.picture:
        write_png(args.picture, np.rint(np.concatenate(pictures)).clip(0, 255).astype(np.uint8))
    return 0


if __name__ == "__main__":
    run_command(main)

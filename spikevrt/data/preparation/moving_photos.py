"""Moves a photo along a smooth sub-pixel path, which gives sharp frames with exactly known motion."""

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.images import read_image
from spikevrt.errors import UserError

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
"""Colour photos that are part of the scikit-image package."""
WAVES = 3
SPEED = 0.25
"""Typical speed in pixels per sub-frame: an exposure of 40 sub-frames blurs over some 10 pixels, like a cyclist."""


def scikit_image_photos(names: Sequence[str] = ()) -> list[Path]:
    """The files of the photos with these names (`chelsea`); all `PHOTOS` if `names` is empty.

    Raises:
        UserError: scikit-image is not installed, or has no such photo.
    """
    try:
        folder = Path(str(resources.files("skimage") / "data"))
    except ModuleNotFoundError:
        raise UserError("photos need scikit-image: pip install scikit-image") from None
    photos = {Path(name).stem: folder / name for name in PHOTOS}
    unknown = [name for name in names if name not in photos]
    if unknown:
        raise UserError(f"{unknown[0]}: no such photo; there are {', '.join(photos)}")
    return [photos[name] for name in names or photos]


def moving_photo(path: Path, size: tuple[int, int], frames: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """`frames` views (h,w,3) of a photo along a random smooth path, interpolated bilinearly."""
    photo = read_image(path).astype(np.float32)
    height, width = size
    room = np.array(photo.shape[:2]) - size - 1
    if room.min() < 0:
        raise UserError(f"{path}: {photo.shape[0]}x{photo.shape[1]} pixels are too few for views of {height}x{width}")
    for y, x in smooth_path(frames, room, np.random.default_rng(seed)):
        top, left = int(y), int(x)
        fy, fx = np.float32(y - top), np.float32(x - left)
        view = photo[top : top + height + 1, left : left + width + 1]
        rows = view[:-1] * (1 - fy) + view[1:] * fy
        yield np.rint(rows[:, :-1] * (1 - fx) + rows[:, 1:] * fx).astype(np.uint8)


def smooth_path(frames: int, room: NDArray, random: np.random.Generator) -> NDArray[np.float64]:
    """(frames,2) positions (y,x) in [0,room]: a sum of slow waves with a typical speed of `SPEED`."""
    time = np.arange(frames)[:, None, None]
    period = random.uniform(60, 240, (1, 2, WAVES))
    phase = random.uniform(0, 2 * np.pi, (1, 2, WAVES))
    amplitude = SPEED * period / (2 * np.pi) * random.uniform(0.5, 1.5, (1, 2, WAVES))
    waves = (amplitude * np.sin(2 * np.pi * time / period + phase)).sum(-1)
    middle = random.uniform(0.3, 0.7, 2) * room
    # Reflect at the borders, so that the path stays inside.
    place = np.mod(middle + waves, 2 * np.maximum(room, 1e-6))
    return np.minimum(place, 2 * room - place).clip(0, room)

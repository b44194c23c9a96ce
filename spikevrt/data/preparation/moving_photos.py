"""Renders views of a photo that moves, with pieces of others before it: sharp frames whose motion is known exactly.

Places are (y,x) in pixels; views have h x w pixels.
"""

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.images import picture_files, read_image
from spikevrt.data.preparation.recipe import Movement
from spikevrt.errors import UserError, shown
from spikevrt_kernels.core.numba_jit import compiled

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
"""Colour photos that are part of the scikit-image package."""
WAVES = 3
SLOW, FAST = (60.0, 240.0), (8.0, 24.0)
"""Periods of waves in sub-frames: of things that move, and of a hand that shakes."""
LARGEST = 4
"""Photos whose shorter side is more than so many times that of a view are made smaller: pixels of cameras are soft."""
RADII = (0.12, 0.3)
"""Sizes of the pieces before the photo, as shares of the view's shorter side."""
CORNERS = 5
"""Waves along the outline of a piece."""


@compiled()
def draw(
    photo: NDArray[np.float32],  # (H, W, 3)
    anchor: NDArray[np.float64],  # (2,) place of the photo that is seen at `centre`
    turn: NDArray[np.float64],  # (2, 2) from steps in the view to steps in the photo
    centre: NDArray[np.float64],  # (2,) place in the view
    outline: NDArray[np.float64],  # (n, 2) cosines and sines of 0, 1, 2 ... angles; n = 0: no outline
    view: NDArray[np.float32],  # (h, w, 3) drawn over
) -> None:
    """Draw a photo, or a piece of it with a soft outline, interpolated bilinearly."""
    height, width = photo.shape[:2]
    for i in range(view.shape[0]):
        for j in range(view.shape[1]):
            dy, dx = i - centre[0], j - centre[1]
            share = np.float32(1)
            if len(outline):
                # The radius in the direction of this pixel, as the piece is turned.
                v, u = turn[0, 0] * dy + turn[0, 1] * dx, turn[1, 0] * dy + turn[1, 1] * dx
                angle, radius = np.arctan2(v, u), outline[0, 0]
                for k in range(1, len(outline)):
                    radius += outline[k, 0] * np.cos(k * angle) + outline[k, 1] * np.sin(k * angle)
                share = np.float32(min(max(radius - np.hypot(v, u) + 0.5, 0.0), 1.0))
                if share == 0:
                    continue
            y = anchor[0] + turn[0, 0] * dy + turn[0, 1] * dx
            x = anchor[1] + turn[1, 0] * dy + turn[1, 1] * dx
            y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            b, a = np.float32(y - top), np.float32(x - left)
            for c in range(3):
                upper = (1 - a) * photo[top, left, c] + a * photo[top, left + 1, c]
                lower = (1 - a) * photo[top + 1, left, c] + a * photo[top + 1, left + 1, c]
                view[i, j, c] += share * ((1 - b) * upper + b * lower - view[i, j, c])


def find_photos(names: Sequence[str] = ()) -> list[Path]:
    """Photos by name, each a picture, a folder of pictures, or one of `PHOTOS`; without names all of these.

    Raises:
        UserError: a name stands for nothing, or two photos have the same stem.
    """
    found = [path for name in names for path in named(name)] if names else list(included().values())
    stems = [path.stem for path in found]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise UserError(f"photos share a name ({shown(', '.join(twice))}): rename them, clips are named by photo")
    return found


def included() -> dict[str, Path]:
    """The files of `PHOTOS` by their stems."""
    try:
        folder = Path(str(resources.files("skimage") / "data"))
    except ModuleNotFoundError:
        raise UserError("photos need scikit-image: pip install scikit-image; or name a folder of your own") from None
    return {Path(name).stem: folder / name for name in PHOTOS}


def named(name: str) -> list[Path]:
    """The photos that a name stands for."""
    path = Path(name).expanduser()
    if path.is_dir():
        return picture_files(path)
    if path.is_file():
        return [path]
    photos = included()
    if name not in photos:
        raise UserError(f"{shown(name)}: no such photo, picture or folder; there are {', '.join(photos)}")
    return [photos[name]]


def read_photo(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    """A photo (H,W,3) for views of `size`, 0..255; a large one is made smaller by a whole number.

    Raises:
        UserError: it is smaller than a view.
    """
    photo = read_image(path).astype(np.float32)
    height, width = photo.shape[:2]
    require_room(path, (height, width), size)
    times = max(1, min(height, width) // (LARGEST * min(size)))
    H, W = height // times, width // times
    return photo[: H * times, : W * times].reshape(H, times, W, times, 3).mean((1, 3))


def require_room(path: Path, photo: tuple[int, int], size: tuple[int, int]) -> None:
    """Raise a `UserError` for a photo of (H,W) pixels that is not larger than a view of `size`."""
    if photo[0] <= size[0] or photo[1] <= size[1]:
        sides, view = (f"{H}x{W}" for H, W in (photo, size))
        raise UserError(f"{path}: {sides} pixels are too few for views of {view}; leave it out, or lower --size")


def moving_photo(
    path: Path, size: tuple[int, int], frames: int, seed: int, movement: Movement, others: Sequence[Path] = ()
) -> Iterator[NDArray[np.uint8]]:
    """`frames` views (h,w,3) of a photo that moves along a smooth path, behind pieces of others that move too.

    Args:
        path: the photo.
        size: (h,w) of the views.
        frames: number of views.
        seed: of all that is random.
        movement: what else moves.
        others: photos from which pieces are cut; without any, from the photo itself.

    Raises:
        UserError: a photo is smaller than a view.
    """
    random = np.random.default_rng(seed)
    photo = read_photo(path, size)
    middle = (np.array(size) - 1) / 2
    rotation, zoom = movement.rotation, movement.zoom
    reach = turned_reach(middle, rotation, zoom) + 3 * movement.shake
    if (np.array(photo.shape[:2]) - 2 * reach < 2).any():  # A small photo is only shifted.
        rotation, zoom, reach = 0.0, 0.0, middle
    room = np.maximum(np.array(photo.shape[:2]) - 2 * reach - 2, 0)
    anchors = reach + smooth_path(frames, room, random, movement.speed)
    turns = turning(frames, rotation, zoom, random)
    shake = movement.shake * np.stack([waves(frames, FAST, random) for _ in range(2)], -1)
    pieces = []
    for number in range(movement.layers):
        source = read_photo(others[number % len(others)], size) if others else photo
        pieces.append(Piece(source, size, frames, movement, random))
    whole = np.empty((0, 2))
    for i in range(frames):
        view = np.zeros((*size, 3), np.float32)
        draw(photo, anchors[i] + shake[i], turns[i], middle, whole, view)
        for piece in pieces:
            draw(piece.photo, piece.anchor, piece.turns[i], piece.path[i] - shake[i], piece.outline, view)
        yield np.rint(view).clip(0, 255).astype(np.uint8)


class Piece:
    """A piece of a photo with a random outline, which moves across the view."""

    def __init__(
        self,
        photo: NDArray[np.float32],
        size: tuple[int, int],
        frames: int,
        movement: Movement,
        random: np.random.Generator,
    ) -> None:
        self.photo = photo
        radius = random.uniform(*RADII) * min(size)
        order = np.arange(1, CORNERS + 1)
        self.outline = np.zeros((CORNERS + 1, 2))
        self.outline[0, 0] = radius
        self.outline[1:] = random.normal(0, 0.15 * radius, (CORNERS, 2)) / order[:, None]
        self.anchor = random.uniform(0.3, 0.7, 2) * np.array(photo.shape[:2])
        self.path = smooth_path(frames, np.array(size, float), random, 2 * movement.speed)
        self.turns = turning(frames, movement.rotation, movement.zoom, random)


def turned_reach(half: NDArray[np.float64], rotation: float, zoom: float) -> NDArray[np.float64]:
    """How far (y,x) from its middle a view of half the size `half` sees at most."""
    across = half[::-1]
    # Turned further than its diagonal lies, a view sees no further.
    angle = np.minimum(np.radians(rotation), np.arctan2(across, half))
    return (half * np.cos(angle) + across * np.sin(angle)) * (1 + zoom)


def turning(frames: int, rotation: float, zoom: float, random: np.random.Generator) -> NDArray[np.float64]:
    """(frames,2,2) rotations of at most so many degrees, with a zoom of at most a share."""
    angle = np.radians(rotation) * np.tanh(waves(frames, SLOW, random))
    scale = 1 + zoom * np.tanh(waves(frames, SLOW, random))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)


def waves(frames: int, periods: tuple[float, float], random: np.random.Generator) -> NDArray[np.float64]:
    """(frames,) a sum of waves with periods in a range of sub-frames; mean 0, standard deviation about 1."""
    period = random.uniform(*periods, WAVES)
    phase = random.uniform(0, 2 * np.pi, WAVES)
    time = np.arange(frames)[:, None]
    return np.sqrt(2 / WAVES) * np.sin(2 * np.pi * time / period + phase).sum(-1)


def smooth_path(frames: int, room: NDArray, random: np.random.Generator, speed: float) -> NDArray[np.float64]:
    """(frames,2) positions (y,x) in [0,room]: a sum of slow waves with a typical speed."""
    time = np.arange(frames)[:, None, None]
    period = random.uniform(*SLOW, (1, 2, WAVES))
    phase = random.uniform(0, 2 * np.pi, (1, 2, WAVES))
    amplitude = speed * period / (2 * np.pi) * random.uniform(0.5, 1.5, (1, 2, WAVES))
    moved = (amplitude * np.sin(2 * np.pi * time / period + phase)).sum(-1)
    middle = random.uniform(0.3, 0.7, 2) * room
    # Reflect at the borders, so that the path stays inside.
    place = np.mod(middle + moved, 2 * np.maximum(room, 1e-6))
    return np.minimum(place, 2 * room - place).clip(0, room)

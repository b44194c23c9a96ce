"""A small data set and a small configuration, made within a second."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spikevrt.config import Config, load_config
from spikevrt.data.preparation.make import Target, make_clips
from spikevrt.data.preparation.recipe import Recipe
from spikevrt.data.simulation.camera import SpikeCamera

RECIPE = Recipe(exposure=2, stride=2, camera=SpikeCamera(scale=2, factor=4, interpolate="linear"))
SIZE = (48, 64)
FRAMES = 14


def moving_frames(frames: int = FRAMES, size: tuple[int, int] = SIZE, seed: int = 0) -> Iterator[np.ndarray]:
    """A random texture that moves to the right by one pixel a frame."""
    H, W = size
    texture = np.random.default_rng(seed).integers(0, 256, (H, W + frames, 3), dtype=np.uint8)
    for t in range(frames):
        yield texture[:, frames - t : frames - t + W]


def make_tree(root: Path, train: int = 2) -> Path:
    """`train` training clips and one that is held out, 6 blurred frames each."""
    centres = RECIPE.centres(0, FRAMES)
    folders = [root / "train" / f"clip{i}" for i in range(train)] + [root / "val" / "held"]
    for seed, folder in enumerate(folders):
        make_clips(moving_frames(seed=seed), [Target(folder, centres)], RECIPE, "moving texture")
    return root


def small_config(root: Path, *options: str) -> Config:
    """The demo's structure at a size that a test can train."""
    return load_config("demo", [f"DATA.ROOT={root}", *SMALL, *options])


def small_options(root: Path) -> list[str]:
    """The same as arguments of a command; further `KEY=VALUE` may follow."""
    return ["--config", "demo", "--opts", f"DATA.ROOT={root}", *SMALL]


SMALL = (
    "DATA.CLIP_LEN=2",
    "DATA.CROP_SIZE=40",
    "DATA.K=4",
    "DATA.NORM.MEAN=0",
    "DATA.NORM.STD=1",
    "MODEL.CHANNELS_PER_SCALE=[8, 8, 8, 8]",
    "MODEL.WINDOW_SIZE=[2, 4, 4]",
    "MODEL.VRT.NUM_HEADS=[2, 2, 2, 2, 2, 2, 2, 2, 2]",
    "MODEL.VRT.DEFORM_GROUPS=2",
    "TEST.CLIP_OVERLAP=1",
    "TRAIN.BATCH_SIZE=1",
    "TRAIN.FREEZE_FLOW_STEPS=0",
    "TRAIN.LR=0.001",
)

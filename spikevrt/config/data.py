"""The DATA section: folders, clips, spike files and voxels."""

import math
from dataclasses import dataclass, field

from spikevrt.config import checks

NORM_MODES = ("rate", "counts")
SPIKE_FORMATS = ("packed", "uint8")


@dataclass(frozen=True)
class NormConfig:
    """DATA.NORM: how spike counts become the model's input; mode, then log1p, then (x - mean) / std."""

    mode: str = "rate"
    """`rate` = count / frames in the bin, in [0, 1]; `counts` = as published."""
    log1p: bool = False
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        checks.require_choice("DATA.NORM.MODE", self.mode, NORM_MODES)
        checks.require(math.isfinite(self.mean), "DATA.NORM.MEAN", self.mean, "finite")
        checks.require(self.std > 0 and math.isfinite(self.std), "DATA.NORM.STD", self.std, "a positive finite number")


@dataclass(frozen=True)
class DataConfig:
    """DATA: the folders `<root>/<split>/<clip>/{blur,sharp,spike}` and how samples are cut from them."""

    root: str | None = None
    """Folder of the data set; required by every command that reads one."""
    train_split: str = "train"
    val_split: str = "val"
    clip_len: int = 5
    """T, RGB frames a sample."""
    clip_stride: int = 1
    """A sample is every CLIP_STRIDE-th start of a T-frame window inside a clip."""
    crop_size: int = 256
    """Training crop in RGB pixels, height and width."""
    k: int = 32
    """Spike bins a frame; NUM_VOXEL_BINS is the same setting under its old name."""
    spike_dir: str = "spike"
    spike_height: int | None = None
    """Stored spike geometry in pixels; none = read `config.yaml` beside the recording."""
    spike_width: int | None = None
    spike_format: str = "packed"
    """`packed` = one bit a pixel, least significant first; `uint8` = one byte a pixel, 0 or 1."""
    spike_flip: bool = True
    """Rows are stored upside down."""
    spike_time_offset: int = 0
    """Spike frames by which the exposure starts after the recording (negative: ends before it)."""
    voxel_cache_dirname: str = "spike_vox"
    norm: NormConfig = field(default_factory=NormConfig)
    blur_dir: str = "blur"
    """`blur_gamma` where wanted; named in every result."""
    sharp_dir: str = "sharp"

    def __post_init__(self) -> None:
        checks.require_at_least("DATA.CLIP_LEN", self.clip_len, 2)
        checks.require_at_least("DATA.CLIP_STRIDE", self.clip_stride, 1)
        checks.require(
            self.crop_size > 32 and self.crop_size % 8 == 0,
            "DATA.CROP_SIZE",
            self.crop_size,
            "a multiple of 8 above 32 (SpyNet's coarsest level needs 2 pixels)",
        )
        checks.require_between("DATA.K", self.k, 1, 1024)
        checks.require_choice("DATA.SPIKE_FORMAT", self.spike_format, SPIKE_FORMATS)
        checks.require(
            (self.spike_height is None) == (self.spike_width is None),
            "DATA.SPIKE_HEIGHT, DATA.SPIKE_WIDTH",
            (self.spike_height, self.spike_width),
            "given together, or both none",
        )
        for key, value in (("SPIKE_HEIGHT", self.spike_height), ("SPIKE_WIDTH", self.spike_width)):
            if value is not None:
                checks.require_at_least(f"DATA.{key}", value, 1)
        for key, name in (
            ("TRAIN_SPLIT", self.train_split),
            ("VAL_SPLIT", self.val_split),
            ("SPIKE_DIR", self.spike_dir),
            ("VOXEL_CACHE_DIRNAME", self.voxel_cache_dirname),
            ("BLUR_DIR", self.blur_dir),
            ("SHARP_DIR", self.sharp_dir),
        ):
            checks.require(bool(name), f"DATA.{key}", repr(name), "the name of a folder")

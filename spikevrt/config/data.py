"""The DATA section: folders, clips, spike files and voxels."""

import math
from dataclasses import dataclass, field

from spikevrt.config import checks
from spikevrt.config.limits import LEAST_PIXELS, MULTIPLE

NORM_MODES = ("rate", "counts")
SPIKE_FORMATS = ("packed", "uint8")
RECORDING_LAYOUTS = ("files", "continuous")


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
class RecordingConfig:
    """DATA.RECORDING: how spike frames are dealt out to RGB frames.

    A `windows.csv` in SPIKE_DIR (`stem,start,length`, in spike frames) wins over the rates and the length.
    """

    layout: str = "files"
    """`files` = one file a frame, of the frame's stem; `continuous` = one recording for a whole clip."""
    spike_rate: float | None = None
    """Spike frames a second of a continuous recording; frame i starts at i * SPIKE_RATE / FRAME_RATE."""
    frame_rate: float | None = None
    """RGB frames a second."""
    length: int | None = None
    """Spike frames of one exposure; none = all until the next frame starts."""

    def __post_init__(self) -> None:
        checks.require_choice("DATA.RECORDING.LAYOUT", self.layout, RECORDING_LAYOUTS)
        for key, value in (("SPIKE_RATE", self.spike_rate), ("FRAME_RATE", self.frame_rate)):
            if value is not None:
                checks.require(0 < value < math.inf, f"DATA.RECORDING.{key}", value, "a positive finite number")
        checks.require(
            (self.spike_rate is None) == (self.frame_rate is None),
            "DATA.RECORDING.SPIKE_RATE, DATA.RECORDING.FRAME_RATE",
            (self.spike_rate, self.frame_rate),
            "given together, or both none",
        )
        if self.length is not None:
            checks.require_at_least("DATA.RECORDING.LENGTH", self.length, 1)


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
    """Stored spike geometry in pixels; none = read `config.yaml` beside the recording, or the shape of an `.npz`."""
    spike_width: int | None = None
    spike_format: str = "packed"
    """`packed` = one bit a pixel, least significant first; `uint8` = one byte a pixel, 0 or 1 (every `.npz`)."""
    spike_flip: bool = True
    """Rows are stored upside down; false for the simulators SPCS, SPIFT and PHM and for most `.npz`."""
    spike_drop_columns: tuple[int, ...] = (0, 0)
    """Columns without pixels at the left and at the right of a stored row: [0, 16] for 250x416 of an SPS10."""
    spike_time_offset: int = 0
    """Spike frames by which the exposure starts after the recording (negative: ends before it); with windows of a
    recording, by which every window moves."""
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    voxel_cache_dirname: str = "spike_vox"
    ram_cache_gb: float = 0.0
    """GB of decoded pictures that training keeps in shared memory, for all workers and processes of a machine
    together; 0 = none."""
    norm: NormConfig = field(default_factory=NormConfig)
    blur_dir: str = "blur"
    """`blur_gamma` where wanted; named in every result."""
    sharp_dir: str = "sharp"

    def __post_init__(self) -> None:
        checks.require_at_least("DATA.CLIP_LEN", self.clip_len, 2)
        checks.require_at_least("DATA.CLIP_STRIDE", self.clip_stride, 1)
        checks.require(
            self.crop_size >= LEAST_PIXELS and self.crop_size % MULTIPLE == 0,
            "DATA.CROP_SIZE",
            self.crop_size,
            f"a multiple of {MULTIPLE} above {LEAST_PIXELS - 1} (SpyNet's coarsest level needs 2 pixels)",
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
        checks.require_length("DATA.SPIKE_DROP_COLUMNS", self.spike_drop_columns, 2)
        checks.require(
            min(self.spike_drop_columns) >= 0 and sum(self.spike_drop_columns) < (self.spike_width or math.inf),
            "DATA.SPIKE_DROP_COLUMNS",
            list(self.spike_drop_columns),
            "two counts of columns that leave some of DATA.SPIKE_WIDTH",
        )
        checks.require(0 <= self.ram_cache_gb < math.inf, "DATA.RAM_CACHE_GB", self.ram_cache_gb, "0 or more")
        for key, name in (
            ("TRAIN_SPLIT", self.train_split),
            ("VAL_SPLIT", self.val_split),
            ("SPIKE_DIR", self.spike_dir),
            ("VOXEL_CACHE_DIRNAME", self.voxel_cache_dirname),
            ("BLUR_DIR", self.blur_dir),
            ("SHARP_DIR", self.sharp_dir),
        ):
            checks.require(bool(name), f"DATA.{key}", repr(name), "the name of a folder")

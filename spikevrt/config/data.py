"""The DATA section: folders, clips, spike files and voxels."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from spikevrt.config.keys import (
    FOLDER,
    PATH,
    Rule,
    Section,
    above,
    between,
    count,
    key,
    one_of,
    require,
)
from spikevrt.config.limits import LEAST_PIXELS, MOST_PIXELS, MULTIPLE

NORM_MODES = ("rate", "counts")
SPIKE_FORMATS = ("packed", "uint8")
RECORDING_LAYOUTS = ("files", "continuous")
INCOMPLETE_FILES = ("refuse", "drop")
CROP_RULE = Rule(
    f"a multiple of {MULTIPLE} above {LEAST_PIXELS - 1} (SpyNet's coarsest level needs 2 pixels), at most "
    f"{MOST_PIXELS:,}",
    lambda size: LEAST_PIXELS <= size <= MOST_PIXELS and size % MULTIPLE == 0,
)
COLUMNS_RULE = Rule(
    f"a list of exactly 2 counts, at most {MOST_PIXELS:,}",
    lambda counts: len(counts) == 2 and all(0 <= count <= MOST_PIXELS for count in counts),
)
SIDE = count(1, MOST_PIXELS)
RATE = above(0, 10**9)
MOST_SPIKE_FRAMES = 10**9


@dataclass(frozen=True)
class NormConfig(Section):
    """How spike counts become the model's input: MODE, then LOG1P, then (x - MEAN) / STD."""

    SECTION: ClassVar[str] = "DATA.NORM"

    mode: str = key(
        "rate", "rate = count / spike frames of the bin, in [0, 1]; counts = as published.", one_of(NORM_MODES)
    )
    log1p: bool = key(False, "Take log(1 + x) after MODE.")
    mean: float = key(0.0, "MEAN in (x - MEAN) / STD.", between(-1e6, 1e6))
    std: float = key(1.0, "STD in (x - MEAN) / STD.", between(1e-6, 1e6))


@dataclass(frozen=True)
class RecordingConfig(Section):
    """Which spike frames belong to which RGB frame.

    If SPIKE_DIR holds a windows.csv (stem,start,length, in spike frames), it replaces the rates and LENGTH.
    """

    SECTION: ClassVar[str] = "DATA.RECORDING"

    layout: str = key(
        "files",
        "files = one spike file per frame, with the frame's stem; continuous = one recording for a whole clip.",
        one_of(RECORDING_LAYOUTS),
    )
    spike_rate: float | None = key(
        None,
        "Spike frames per second of a continuous recording; RGB frame i starts at i * SPIKE_RATE / FRAME_RATE, and "
        "a frame of a video with uneven time stamps at its time * SPIKE_RATE.",
        RATE,
    )
    frame_rate: float | None = key(None, "RGB frames per second; given together with SPIKE_RATE.", RATE)
    length: int | None = key(
        None, "Spike frames of one exposure; none = all until the next RGB frame starts.", count(1, MOST_SPIKE_FRAMES)
    )
    incomplete: str = key(
        "refuse",
        "What to do with a .dat file that ends inside a spike frame: refuse = it is an error; drop = the rest is left "
        "out.",
        one_of(INCOMPLETE_FILES),
        free=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (self.spike_rate is None) == (self.frame_rate is None),
            "DATA.RECORDING.SPIKE_RATE, DATA.RECORDING.FRAME_RATE",
            (self.spike_rate, self.frame_rate),
            "given together, or both none",
        )


@dataclass(frozen=True)
class DataConfig(Section):
    """The folders <root>/<split>/<clip>/{blur,sharp,spike}, and how samples are cut from them."""

    SECTION: ClassVar[str] = "DATA"

    root: str | None = key(
        None, "Folder of the data set; every command that reads a data set needs it.", PATH, path=True
    )
    train_split: str = key("train", "Folder below ROOT with the training clips.", FOLDER)
    val_split: str = key("val", "Folder below ROOT with the validation clips.", FOLDER)
    clip_len: int = key(5, "T, the RGB frames of one sample.", count(2, 1024))
    clip_stride: int = key(
        1, "Frames from the start of one sample of a clip to the start of the next.", count(1, 10**6)
    )
    crop_size: int = key(256, "Height and width of a training crop, in RGB pixels.", CROP_RULE)
    k: int = key(32, "K, the number of spike bins per RGB frame; NUM_VOXEL_BINS is its old name.", between(1, 1024))
    spike_dir: str = key("spike", "Folder of a clip with its spikes.", FOLDER)
    spike_height: int | None = key(
        None,
        "Height of a stored spike frame, in pixels; none = from the config.yaml beside the recording, or from the "
        "shape of the array in an .npz.",
        SIDE,
    )
    spike_width: int | None = key(
        None, "Width of a stored spike frame, in pixels; given together with SPIKE_HEIGHT.", SIDE
    )
    spike_format: str = key(
        "packed",
        "packed = one bit per pixel, least significant bit first; uint8 = one byte per pixel, 0 or 1 (every .npz).",
        one_of(SPIKE_FORMATS),
    )
    spike_flip: bool = key(
        True, "true = rows are stored upside down; false for the simulators SPCS, SPIFT and PHM, and for most .npz."
    )
    spike_drop_columns: tuple[int, ...] = key(
        (0, 0),
        "Columns without pixels at the left and right end of every stored row: [0, 16] for the 250x416 of an SPS10.",
        COLUMNS_RULE,
    )
    spike_time_offset: int = key(
        0,
        "Moves exposures by so many spike frames. If a file is one exposure, that many frames at its start are left "
        "out (at its end if negative).",
        between(-MOST_SPIKE_FRAMES, MOST_SPIKE_FRAMES),
    )
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    voxel_cache_dirname: str = key("spike_vox", "Folder of a clip with its cached voxels.", FOLDER)
    ram_cache_gb: float = key(
        0.0,
        "GB of decoded pictures that training keeps in memory, shared by all workers and processes of a machine; "
        "0 = none.",
        between(0, 10**5),
    )
    norm: NormConfig = field(default_factory=NormConfig)
    blur_dir: str = key(
        "blur", "Folder of a clip with its blurred frames, for example blur_gamma; results name it.", FOLDER
    )
    sharp_dir: str = key("sharp", "Folder of a clip with its sharp frames.", FOLDER)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (self.spike_height is None) == (self.spike_width is None),
            "DATA.SPIKE_HEIGHT, DATA.SPIKE_WIDTH",
            (self.spike_height, self.spike_width),
            "given together, or both none",
        )
        require(
            sum(self.spike_drop_columns) < (self.spike_width or math.inf),
            "DATA.SPIKE_DROP_COLUMNS",
            list(self.spike_drop_columns),
            "two counts of columns that leave some of DATA.SPIKE_WIDTH",
        )

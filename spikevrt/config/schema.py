"""The whole configuration: its four sections, the values derived from others, and the checks across sections."""

from dataclasses import dataclass, field
from typing import Any

from spikevrt.config.data import DataConfig
from spikevrt.config.keys import require
from spikevrt.config.limits import WINDOWS_PER_SIDE, least_side
from spikevrt.config.model import U_STAGES, ModelConfig, VRTConfig, mirrored
from spikevrt.config.train import DEFAULT_OVERLAP, TestConfig, TrainConfig


@dataclass(frozen=True)
class Config:
    """A run's configuration. Every key has a value: `config_from_tree` computes the derived ones.

    Raises:
        UserError: a value is not allowed; the message names key, value and allowed range.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    test: TestConfig = field(default_factory=TestConfig)

    def __post_init__(self) -> None:
        window = self.model.window_size
        least = least_side(max(window[1:]))
        require(
            self.data.crop_size >= least,
            "DATA.CROP_SIZE",
            self.data.crop_size,
            f"at least {least}: {WINDOWS_PER_SIDE} windows of MODEL.WINDOW_SIZE = {list(window)}",
        )
        require(
            self.test.clip_overlap < self.data.clip_len,
            "TEST.CLIP_OVERLAP",
            self.test.clip_overlap,
            f"below DATA.CLIP_LEN = {self.data.clip_len}",
        )


Values = dict[str, Any]
"""Field values of nested sections, with the right types but not checked yet."""
WINDOW = (8, 8)
"""Default height and width of an attention window, in pixels."""
HEADS = 6


def add_derived(values: Values) -> None:
    """Compute missing derived values from the given values or their defaults; wrong values are left to the checks."""
    model, test = values.setdefault("model", {}), values.setdefault("test", {})
    vrt = model.setdefault("vrt", {})
    clip_len = values.get("data", {}).get("clip_len", DataConfig.clip_len)
    channels = model.get("channels_per_scale", ModelConfig.channels_per_scale)
    groups = len(vrt.get("depths", VRTConfig.depths))
    vrt.setdefault("embed_dims", mirrored(channels, groups))
    vrt.setdefault("num_heads", tuple(default_heads(width) for width in vrt["embed_dims"]))
    vrt.setdefault("indep_reconsts", tuple(i for i in (groups - 2, groups - 1) if i >= U_STAGES))
    model.setdefault("window_size", (clip_len, *WINDOW))
    test.setdefault("clip_overlap", min(DEFAULT_OVERLAP, clip_len - 1))


def default_heads(width: int) -> int:
    """6 where it divides the width, else the largest smaller divisor."""
    return next(heads for heads in range(HEADS, 0, -1) if width % heads == 0)

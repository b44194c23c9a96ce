"""The whole configuration: four sections, and the checks that need more than one of them."""

from dataclasses import dataclass, field

from spikevrt.config import checks
from spikevrt.config.data import DataConfig
from spikevrt.config.limits import WINDOWS_PER_SIDE, least_side
from spikevrt.config.model import ModelConfig
from spikevrt.config.train import TestConfig, TrainConfig


@dataclass(frozen=True)
class Config:
    """A run's configuration, without gaps: `config_from_tree` fills in what follows from other keys.

    Raises:
        UserError: a value outside what is allowed, naming key, value and the allowed range.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    test: TestConfig = field(default_factory=TestConfig)

    def __post_init__(self) -> None:
        window = self.model.window_size
        least = least_side(max(window[1:]))
        checks.require(
            self.data.crop_size >= least,
            "DATA.CROP_SIZE",
            self.data.crop_size,
            f"at least {least}: {WINDOWS_PER_SIDE} windows of MODEL.WINDOW_SIZE = {list(window)}",
        )
        checks.require(
            self.test.clip_overlap < self.data.clip_len,
            "TEST.CLIP_OVERLAP",
            self.test.clip_overlap,
            f"below DATA.CLIP_LEN = {self.data.clip_len}",
        )

"""The whole configuration: four sections, and the checks that need more than one of them."""

from dataclasses import dataclass, field

from spikevrt.config import checks
from spikevrt.config.data import DataConfig
from spikevrt.config.limits import WINDOWS_PER_SIDE, least_side
from spikevrt.config.model import ModelConfig
from spikevrt.config.train import TestConfig, TrainConfig


@dataclass(frozen=True)
class Config:
    """A run's configuration. Building one resolves every derived value and validates the whole.

    Raises:
        UserError: a value outside what is allowed, naming key, value and the allowed range.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    test: TestConfig = field(default_factory=TestConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", self.model.resolve(self.data.clip_len))
        window = self.model.window_size
        assert window is not None
        least = least_side(max(window[1:]))
        checks.require(
            self.data.crop_size >= least,
            "DATA.CROP_SIZE",
            self.data.crop_size,
            f"at least {least}: {WINDOWS_PER_SIDE} windows of MODEL.WINDOW_SIZE = {list(window)}",
        )
        object.__setattr__(self, "test", self.test.resolve(self.data.clip_len))

"""What every part of a report shares: device, model, types; in a dry run those of a CPU."""

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import torch

from spikevrt.config import Config, load_config
from spikevrt.system.device import settle_float32
from spikevrt_kernels.core.case import Precision, mixed, pure

PRECISIONS = MappingProxyType(
    {
        "bf16-autocast": mixed(torch.bfloat16),
        "bf16": pure(torch.bfloat16),
        "fp16-autocast": mixed(torch.float16),
        "fp16": pure(torch.float16),
        "fp32": pure(torch.float32),
    }
)
"""By the names that parts are called with, the one that trains first."""
DRY_OPTIONS = ("DATA.CROP_SIZE=40", "TRAIN.BATCH_SIZE=1")


@dataclass(frozen=True)
class Setting:
    """Where parts run: the GPU, or in a dry run the CPU with `sdpa` in the place of `triton`."""

    dry: bool = False

    @property
    def device(self) -> torch.device:
        """The first GPU, or the CPU."""
        return torch.device("cpu" if self.dry else "cuda:0")

    @property
    def half(self) -> torch.dtype | None:
        """Autocast's type; None in a dry run."""
        return None if self.dry else torch.bfloat16

    def backend(self, entry: str) -> str:
        """The backend that runs as an entry."""
        return "sdpa" if self.dry and entry == "triton" else entry

    def configuration(self, *options: str) -> Config:
        """`default`, or a tiny `demo` in a dry run; the options are for the GPU alone."""
        return load_config("demo", list(DRY_OPTIONS)) if self.dry else load_config("default", list(options))

    @cached_property
    def config(self) -> Config:
        """The model that is reported on."""
        return self.configuration()

    @property
    def precision(self) -> Precision:
        """What the model runs in."""
        return mixed(self.half)

    def synchronise(self) -> None:
        """Wait for the GPU; a kernel that broke its context raises here at the latest."""
        if not self.dry:
            torch.cuda.synchronize()


def settled(dry: bool) -> Setting:
    """A setting in which float32 is what it is in training."""
    settle_float32(few_sizes=True)
    return Setting(dry)

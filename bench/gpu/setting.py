"""What all parts of a report share: device, model, number types, shapes, tools; and a part that checks them."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import torch

from bench.gpu.part import Finding
from spikevrt.config import Config, load_config
from spikevrt.models.backends.trials import operator_trials
from spikevrt.system.device import c_compiler, settle_float32
from spikevrt.system.machine import machine_lines
from spikevrt_kernels.core.case import Case, Precision, mixed, pure
from spikevrt_kernels.core.processes import cores
from spikevrt_kernels.deform_conv.spec import deform_conv_case
from spikevrt_kernels.geglu_block.spec import fuse_case, geglu_case
from spikevrt_kernels.linear_residual.spec import linear_residual_case
from spikevrt_kernels.norm_linear.spec import norm_linear_case
from spikevrt_kernels.registry import OPERATORS
from spikevrt_kernels.temporal_attention.spec import temporal_attention_case
from spikevrt_kernels.temporal_block.spec import temporal_block_case
from spikevrt_kernels.warp_pairs.spec import warp_pairs_case
from spikevrt_kernels.window_attention.spec import window_attention_case

PRECISIONS = MappingProxyType(
    {
        "bf16-autocast": mixed(torch.bfloat16),
        "bf16": pure(torch.bfloat16),
        "fp16-autocast": mixed(torch.float16),
        "fp16": pure(torch.float16),
        "fp32": pure(torch.float32),
    }
)
"""Number types by name, that of training first."""
DRY_CONFIG_OPTIONS = ("DATA.CROP_SIZE=40", "TRAIN.BATCH_SIZE=1")
MORE_ODD_CASES = MappingProxyType(
    {
        "temporal_attention": (temporal_attention_case(1, 96, 7, 7, 40, 36, 4),),
        "temporal_block": (
            temporal_block_case((2, 96, 7, None, 20, 36), 4),
            temporal_block_case((1, 96, 7, 7, 20, 36), 4),
        ),
        "window_attention": (window_attention_case((1, 7, 24, 20), 120, 6, (6, 8, 8), (3, 4, 4), False),),
        "norm_linear": (norm_linear_case((1, 7, 24, 20, 120), 360, biased=True),),
        "linear_residual": (linear_residual_case((2, 7, 24, 20, 120), 120),),
        "geglu_block": (geglu_case((2, 7, 24, 20, 120), 240, scaled=True), fuse_case((1, 7, 24, 20, 96), 288)),
        "warp_pairs": (warp_pairs_case((1, 7, 24, 20, 120)),),
        "deform_conv": (deform_conv_case((1, 7, 24, 20, 120), 12, 120, 10.0),),
    }
)
"""More shapes: 7 frames, and 120 channels as in stage 8."""
TRAINING_PRECISION_NAME = "bf16-autocast"
"""The number type of training."""
NCU, COMPUTE_SANITIZER = "ncu", "compute-sanitizer"
MODULES = ("spikevrt.train", "spikevrt.deblur", "spikevrt.selftest", "spikevrt.prepare", "spikevrt_kernels.registry")


@dataclass(frozen=True)
class Setting:
    """Where parts run: on the GPU; in a dry run on the CPU, with `sdpa` instead of `triton`."""

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
        """The backend that stands for an entry: in a dry run `sdpa` for `triton`."""
        return "sdpa" if self.dry and entry == "triton" else entry

    def configuration(self, *options: str) -> Config:
        """`default` with the options; in a dry run a tiny `demo` without them."""
        return load_config("demo", list(DRY_CONFIG_OPTIONS)) if self.dry else load_config("default", list(options))

    @cached_property
    def config(self) -> Config:
        """Configuration of the model that the report is about."""
        return self.configuration()

    @property
    def precision(self) -> Precision:
        """The number type that the model runs in."""
        return mixed(self.half)

    def synchronise(self) -> None:
        """Wait for the GPU; raises if a kernel destroyed its context."""
        if not self.dry:
            torch.cuda.synchronize()


def settled(dry: bool) -> Setting:
    """A setting, after float32 was set up as for training."""
    settle_float32(few_sizes=True)
    return Setting(dry)


def odd_cases(setting: Setting, op: str, precision: str) -> tuple[Case, ...]:
    """Shapes that tiles do not divide; in the type of training also longer clips and more channels."""
    if setting.dry:
        return OPERATORS[op].tiny
    return (*OPERATORS[op].odd, *(MORE_ODD_CASES.get(op, ()) if precision == TRAINING_PRECISION_NAME else ()))


def own_cases(setting: Setting, op: str) -> tuple[Case, ...]:
    """The model's shapes, reduced so that float64 fits into memory."""
    return operator_trials(setting.config, setting.config.train.batch_size)[op].checked


def timed_cases(setting: Setting) -> list[Case]:
    """The model's shapes in full size, largest first."""
    trials = operator_trials(setting.config, setting.config.train.batch_size)
    sizes = {case: elements(case) for one in trials.values() for case in one.timed}
    return sorted(sizes, key=lambda case: -sizes[case])


def elements(case: Case) -> int:
    """Number of elements of a case's features, without allocating them."""
    made = case.make(lambda *shape, **_: torch.empty(shape, device="meta"))  # type: ignore[arg-type]
    return sum(x.numel() for x in made[: case.features])


def environment(setting: Setting) -> Iterator[Finding]:
    """Describe the machine, and check that it has what the other parts need.

    Raises:
        ImportError: a module is missing.
        RuntimeError: there is no C compiler, or no GPU that answers.
    """
    for line in machine_lines(setting.device):
        yield Finding("machine", line)
    for module in MODULES:
        import_module(module)
    compiler = c_compiler(setting.device)
    cache = os.environ.get("TRITON_CACHE_DIR", "Triton's own")
    yield Finding(
        "machine", f"python {platform.python_version()}, {cores()} cores, C compiler {compiler}, cache {cache}"
    )
    yield Finding("machine", f"ncu {tool(NCU)}, compute-sanitizer {tool(COMPUTE_SANITIZER)}")
    if compiler is None:
        raise RuntimeError("no C compiler: Triton builds its launchers with one; install gcc or set CC")
    torch.empty(1, device=setting.device)


def tool(name: str) -> str | None:
    """Path of a tool from PATH or CUDA's folder, which often is not on PATH; None if it is not installed."""
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    return shutil.which(name) or shutil.which(name, path=str(toolkit / "bin"))

"""What is tuned: every kernel that a configuration runs, with its launches to compile and its cases to time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from bench.tuning.candidates import static_row, with_warps
from spikevrt.config import Config
from spikevrt.models.attention_trials import Block, Windows, cut, temporal_blocks, window_groups
from spikevrt_kernels.checks.case import Case
from spikevrt_kernels.launches import Launch
from spikevrt_kernels.temporal_block.plan import block_launches
from spikevrt_kernels.tuned import Kernel, Row, kernels_asked_for, trying
from spikevrt_kernels.window_attention.plan import window_launches

DTYPE = torch.bfloat16
MARK = 3
"""Warps that no table has: launches that take them are those of the kernel whose row has them."""
Plan = Callable[[], dict[str, Launch]]


@dataclass
class Subject:
    """One kernel in one variant."""

    kernel: Kernel
    plans: list[Plan] = field(default_factory=list)
    """The launches of a call, by name; of each kind of call."""
    checked: dict[str, Case] = field(default_factory=dict)
    """By shape: where a row must be right."""
    timed: dict[str, Case] = field(default_factory=dict)
    """By shape: as large as the model runs them."""

    def launches(self, row: Row) -> list[Launch]:
        """This kernel's launches with a row; for compilation only."""
        marked = with_warps(self.kernel, row, MARK)
        found = []
        for plan in self.plans:
            with trying({self.kernel: marked}):
                names = [name for name, launch in plan().items() if launch.options["num_warps"] == MARK]
            with trying({self.kernel: row}):
                launches = plan()
            found += [launches[name] for name in names]
        return found

    @property
    def functions(self) -> set[str]:
        """Names of the kernels as a profiler shows them."""
        return {launch.kernel.__name__ for launch in self.launches(static_row(self.kernel))}


def subjects(config: Config, architecture: int) -> list[Subject]:
    """All kernels of training and restoration with a configuration."""
    found: dict[Kernel, Subject] = {}
    B = config.train.batch_size
    for block in temporal_blocks(config, B) if config.model.use_spike else []:
        add(found, block_plan(block, architecture), block.case(cut(block.shape)), block.case(block.shape))
    for group in window_groups(config, B):
        for shifted in (False, True):
            checked, timed = (group.case(shape, shifted) for shape in (cut(group.shape), group.shape))
            add(found, window_plan(group, shifted, architecture), checked, timed)
    return list(found.values())


def add(found: dict[Kernel, Subject], plan: Plan, checked: Case, timed: Case) -> None:
    """Note a call with every kernel that it launches."""
    with kernels_asked_for() as kernels:
        plan()
    for kernel in kernels:
        subject = found.setdefault(kernel, Subject(kernel))
        subject.plans.append(plan)
        subject.checked[checked.shape] = checked
        subject.timed[timed.shape] = timed


def block_plan(block: Block, architecture: int) -> Plan:
    """The launches of a block along time."""
    section, cross = block.section, block.Tk is not None
    ratio = int(section.mlp_ratio)
    return lambda: block_launches(block.shape, DTYPE, architecture, cross, section.heads, ratio)


def window_plan(group: Windows, shifted: bool, architecture: int) -> Plan:
    """The launches of a group's window attention."""
    B, C, T, H, W = group.shape
    d, h, w = (length // 2 if shifted else 0 for length in group.window)
    shape, window, shift = (B, T, H, W, C), group.window, (d, h, w)
    return lambda: window_launches(shape, DTYPE, architecture, group.mutual, group.heads, window, shift)

"""Training in one process, or in several under torchrun."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from spikevrt.errors import UserError
from spikevrt.system.device import choose_device

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others; the first one may have to compile all kernels."""


@dataclass(frozen=True)
class Processes:
    """This process and its relation to the others."""

    rank: int
    world: int
    device: torch.device
    local: int = 0
    """Rank among the processes of this machine."""

    @property
    def first(self) -> bool:
        """Whether this process writes files and progress bars."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Wrap the model so that gradients are averaged over all processes."""
        if self.world == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a value over all processes."""
        if self.world > 1:
            distributed.all_reduce(value)
            value = value / self.world
        return value

    def any(self, *flags: Tensor) -> list[bool]:
        """Which flags (0-d, bool) are set on at least one process; all processes get the same answer.

        The host waits for the device here, once.
        """
        return [share > 0 for share in self.mean(torch.stack(flags).float()).tolist()]

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank; each process must call this."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        distributed.all_gather_object(found, value)
        return found

    def decide(self, make: Callable[[], T]) -> T:
        """Run `make` on the first process and return its result on all; its `UserError` is raised on all, too."""
        if self.world == 1:
            return make()
        found: list[Any] = [None, None]
        if self.first:
            try:
                found[0] = make()
            except UserError as error:
                found[1] = str(error)
        distributed.broadcast_object_list(found, device=self.device)
        if found[1] is not None:
            raise UserError(found[1])
        return found[0]

    def on_other_machines(self, work: Callable[[], object]) -> None:
        """Run `work` on one process of every other machine; all processes wait for it."""
        if self.local == 0 and not self.first:
            work()
        self.barrier()

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            distributed.barrier()


def accumulating(model: nn.Module, last: bool) -> AbstractContextManager[None]:
    """For a micro-batch: all but the `last` one only add to this process's gradients, which saves their exchange."""
    return nullcontext() if last or not isinstance(model, DistributedDataParallel) else model.no_sync()


@contextmanager
def joined_processes(device: str | None = None) -> Iterator[Processes]:
    """Join torchrun's group if there is one, and leave it at the end; the device is a CUDA device if there is one."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_RANK", 0))
    chosen = choose_device(device, local)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    if world > 1:
        distributed.init_process_group(backend, timeout=PATIENCE)
    failed = True
    try:
        yield Processes(rank, world, chosen, local)
        failed = False
    finally:
        # Gloo aborts a process that exits without leaving the group; NCCL waits for processes that wait for this one.
        if world > 1 and not (failed and backend == "nccl"):
            distributed.destroy_process_group()

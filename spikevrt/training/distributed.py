"""Training in one process, or in several under torchrun."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from spikevrt.errors import EXIT_USER_ERROR, UserError
from spikevrt.system.device import choose_device
from spikevrt.system.failures import system_line
from spikevrt.system.process import STOPPING, handled, place_of_process
from spikevrt.training.peers import Peers

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
    peers: Peers | None = None
    """The other processes, if there are any."""

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
        return [share > 0 for share in self.means(torch.stack(flags).float())]

    def means(self, values: Tensor) -> list[float]:
        """The means (N,) of values over all processes, on the host, which waits for the device.

        Raises:
            ConnectionAbortedError: another process ended, so that nothing was computed.
        """
        found = self.mean(values).tolist()
        if self.peers is not None and self.peers.ended():
            raise ConnectionAbortedError
        return found

    @contextmanager
    def surviving(self, save: Callable[[], None] = lambda: None) -> Iterator[None]:
        """While active, the end of another process ends this one, with the exit code of bad input.

        What breaks is an exchange between processes, so an optimiser step is either done or not begun. `save` is called
        on the first process. The first one that is left prints a line, below the progress bar; it does so here, because
        torchrun soon ends what it still finds running.
        """
        try:
            yield
        except (RuntimeError, ConnectionAbortedError) as error:
            lost = self.peers.ended_soon() if self.peers is not None else []
            if not lost and not connection_lost(error):
                raise
            if self.first:
                save()
            if self.rank == min(set(range(self.world)) - set(lost)) or (not lost and self.local == 0):
                print(f"\nerror: {loss_line(lost, self.world)}", file=sys.stderr, flush=True)
            raise SystemExit(EXIT_USER_ERROR) from None

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank; each process must call this."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        distributed.all_gather_object(found, value)
        return found

    def decide(self, make: Callable[[], T]) -> T:
        """Run `make` on the first process and return its result on all; its error is raised on all, too.

        Raises:
            UserError: the error of `make`, or what the system refused to it.
        """
        if self.world == 1:
            return make()
        found: list[Any] = [None, None]
        if self.first:
            try:
                found[0] = make()
            except UserError as error:
                found[1] = str(error)
            except OSError as error:
                found[1] = system_line(error)
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


def give_up() -> None:
    """End what the main thread waits for: NCCL by itself waits for a process that ended until its timeout."""
    group = distributed.group.WORLD
    if group is not None:
        group.abort()


def connection_lost(error: Exception) -> bool:
    """Whether an error is one of NCCL's or Gloo's; Gloo raises RuntimeErrors that name its source file."""
    return isinstance(error, distributed.DistError) or "/gloo/" in str(error)


def loss_line(lost: list[int], world: int) -> str:
    """What the user reads when processes ended; none in `lost` = it is not known which."""
    which = f"process {', '.join(map(str, lost))}" if lost else "a process"
    return (
        f"{which} of {world} ended (they count from 0); if it says nothing above, it was killed, perhaps for memory; "
        "continue with the same command and --resume auto"
    )


def accumulating(model: nn.Module, last: bool) -> AbstractContextManager[None]:
    """For a micro-batch: all but the `last` one only add to this process's gradients, which saves their exchange."""
    return nullcontext() if last or not isinstance(model, DistributedDataParallel) else model.no_sync()


@contextmanager
def joined_processes(device: str | None = None) -> Iterator[Processes]:
    """Join torchrun's group if there is one, and leave it at the end; the device is a CUDA device if there is one."""
    rank, world, local = place_of_process()
    chosen = choose_device(device, local)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    failed, peers = True, None
    if world > 1:
        # While PyTorch waits for the others to come it lets no handler run, although one of them may have been killed.
        at_once = handled(STOPPING, signal.SIG_DFL)
        with Processes(rank, world, chosen, local).surviving(), at_once:
            distributed.init_process_group(backend, timeout=PATIENCE)
            peers = Peers.meet(rank, world)
    if peers is not None and backend == "nccl":
        peers.when_one_ended(give_up)
    try:
        processes = Processes(rank, world, chosen, local, peers)
        with processes.surviving():
            yield processes
        failed = False
    finally:
        if peers is not None:
            peers.left.set()
        # Gloo aborts a process that exits without leaving the group; NCCL waits for processes that wait for this one.
        if world > 1 and not (failed and backend == "nccl"):
            distributed.destroy_process_group()

"""Training samples that cannot be read: another takes the place of each, up to a number, and they are listed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from spikevrt.config import TrainConfig
from spikevrt.data.clips.dataset import ClipDataset, DrawSampler, Sample
from spikevrt.data.files.atomic import replacing
from spikevrt.errors import UserError
from spikevrt.training.distributed import Processes
from spikevrt.training.validation import load

LIST_NAME = "bad_samples.txt"
LEFT_OUT = "left_out"
"""The entry of a sample that lists (index, reason) of those in whose place it stands."""


class Tolerant(Dataset[Sample]):
    """A data set that answers with the next sample which can be read, the same in every run on the same files.

    Args:
        data: the data set.
        most: samples that may be left out in the whole run; one more in a row is an error here already.
    """

    def __init__(self, data: ClipDataset, most: int) -> None:
        self.data = data
        self.most = most

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: int | tuple[int, int]) -> Sample:
        """As `ClipDataset` answers for an index or (index, draw), or the next readable sample with the same draw.

        Raises:
            UserError: none of the first `most` + 1 can be read.
        """
        index, draw = place if isinstance(place, tuple) else (place, place)
        bad: list[tuple[int, str]] = []
        for i in range(index, index + min(self.most + 1, len(self.data))):
            own = i % len(self.data)
            try:
                return {**self.data[own, draw], LEFT_OUT: bad}
            except UserError as error:
                bad.append((own, str(error)))
        raise too_many(bad[-1][1], self.most)


class BadSamples:
    """The samples that were left out, counted over the worker processes and over the processes of a run.

    Args:
        most: how many may be left out.
        folder: the run's folder, in which `LIST_NAME` lists the reasons.
    """

    def __init__(self, most: int, folder: Path) -> None:
        self.most = most
        self.path = folder / LIST_NAME
        self.reasons: dict[int, str] = {}
        """Why a sample was left out, by its index; the same in all processes."""
        self.news: dict[int, str] = {}
        """Those that only this process knows."""

    def batches(
        self, data: ClipDataset, train: TrainConfig, processes: Processes, draw: int
    ) -> Iterator[dict[str, Any]]:
        """This process's collated batches, without end, as `watched` passes them on.

        Args:
            data: the training samples.
            train: the TRAIN section.
            processes: they divide the samples among themselves.
            draw: number of the first sample of all processes together.
        """
        tolerant = Tolerant(data, self.most) if self.most else data
        sampler = DrawSampler(len(data), train.seed, draw, processes.rank, processes.world)
        return self.watched(iter(load(tolerant, processes.device, train.batch_size, sampler, train.num_workers)))

    def watched(self, batches: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The same collated batches; what was left out for them is noted as they come."""
        for raw in batches:
            for bad in raw.pop(LEFT_OUT, ()):
                self.news |= {index: reason for index, reason in bad if index not in self.reasons}
            yield raw

    def settle(self, processes: Processes) -> list[str]:
        """Exchange the news of all processes; each process must call this.

        Returns:
            A line for each reason that is new; samples share frames, so several can have the same.

        Raises:
            UserError: too many samples have been left out.
        """
        merged = {i: reason for news in processes.gather(self.news) for i, reason in sorted(news.items())}
        self.news = {}
        fresh = [r for r in dict.fromkeys(merged.values()) if r not in self.reasons.values()]
        self.reasons |= merged
        if processes.first and fresh:
            self._list(fresh)
        if len(self.reasons) > self.most:
            raise too_many(next(reversed(merged.values())), self.most)
        return [f"left out: {reason} ({len(self.reasons)} of --skip-bad-samples {self.most})" for reason in fresh]

    def _list(self, fresh: list[str]) -> None:
        """Add reasons to the file, none twice."""
        lines = self.path.read_text("utf-8", "replace").splitlines() if self.path.is_file() else []
        with replacing(self.path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in dict.fromkeys([*lines, *fresh])), "utf-8")


def too_many(reason: str, most: int) -> UserError:
    """The error about one bad sample more than allowed."""
    return UserError(f"{reason}; more than --skip-bad-samples {most} training samples cannot be read")

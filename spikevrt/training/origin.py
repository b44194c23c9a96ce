"""Where a run continues from: the step, and what has changed since."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikevrt.config import Config, config_from_tree, config_to_tree
from spikevrt.training.optimisation import draws_per_step

FOLDER_KEYS = frozenset({"TRAIN.OUTPUT_DIR", "DATA.ROOT"})
"""Keys that say where files are; data sets and runs may move."""


@dataclass(frozen=True)
class Origin:
    """What a checkpoint says about the run that it is of."""

    config: Config
    step: int
    draws: int
    """Samples that all processes together had taken; it decides which sample comes next."""
    validated: int
    """The last step that was validated."""
    world: int | None
    """Number of processes; None if unknown, as `samples`."""
    samples: int | None
    """Size of the data set."""

    @classmethod
    def of(cls, state: dict[str, Any], world: int) -> "Origin":
        """Read a checkpoint; an old one does not count draws: it is taken to be of `world` processes and validated."""
        config, training = config_from_tree(state["config"]), state["training"]
        step = training["step"]
        return cls(
            config=config,
            step=step,
            draws=training.get("draws", step * draws_per_step(config.train, world)),
            validated=training.get("validated", step),
            world=training.get("world"),
            samples=training.get("samples"),
        )

    def sentence(self, path: Path, here: Config, world: int, samples: int) -> str:
        """One line: where the run continues, which keys have other values from here on, and what stays the same."""
        start = f"{path}: continues from step {self.step}"
        keys = differences(config_to_tree(self.config), config_to_tree(here))
        changes = [change for change in keys if change[0] not in FOLDER_KEYS]
        counts = ("processes", self.world, world), ("samples", self.samples, samples)
        changes += [count for count in counts if count[1] not in (None, count[2])]
        if not changes:
            return start
        changed = ", ".join(f"{name} {old} -> {new}" for name, old, new in changes)
        reordered = self.config.train.seed != here.train.seed or self.samples not in (None, samples)
        order = "the order of samples is a new one" if reordered else "the order of samples stays the same"
        return f"{start}; from here on {changed}; {order}, weights and optimiser continue"


def differences(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, value there and value here of every key that differs between two configurations."""
    for key, new in here.items():
        name, old = f"{prefix}{key}", there.get(key)
        if isinstance(new, dict):
            yield from differences(old or {}, new, f"{name}.")
        elif old != new:
            yield name, old, new

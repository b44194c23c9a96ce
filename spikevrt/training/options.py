"""How a training runs, beside its configuration."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunOptions:
    """The command's options; none but `init` changes the weights of a run that ends well."""

    resume: str | None = None
    """`auto`, the path of a checkpoint, or None for a new run."""
    device: str | None = None
    """`cuda:N` or `cpu`; None = CUDA if there is a GPU."""
    prove_again: bool = False
    """Whether attention backends are tried again instead of read from an earlier run."""
    detect_anomaly: bool = False
    """Whether the first value that is not finite ends the run, with the name of its module."""
    skip_bad_samples: int = 0
    """How many training samples may be left out because they cannot be read."""
    dry_run: bool = False
    """Whether a step is tried and the whole run predicted, instead of training."""
    profile: int | None = None
    """Steps to profile instead of training; None = train."""
    init: str | None = None
    """A file of weights, or a name of `spikevrt.weights`, from which a new run starts; None = fresh weights."""

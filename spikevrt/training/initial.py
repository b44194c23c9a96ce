"""What a run starts from: fresh weights, or those of a file."""

from collections.abc import Sequence

from torch import nn

from spikevrt.config import Config
from spikevrt.errors import UserError
from spikevrt.models.checkpoint import load_weights
from spikevrt.models.weights.files import read_state
from spikevrt.models.weights.origin import check_format, stored_config
from spikevrt.training.optimisation import hold_flow_still

OF_THEIR_OWN = "DATA.ROOT=none", "TRAIN.OUTPUT_DIR=runs", "MODEL.VRT.PRETRAINED=none"
"""Places of files are not taken over."""


def config_of_weights(path: str, options: Sequence[str]) -> Config:
    """The configuration that weights were trained with, without its places of files, changed by `KEY=VALUE` options.

    Raises:
        UserError: the file cannot be used or holds no configuration, or an option is wrong.
    """
    state = read_state(path)
    check_format(state, path)
    if "config" not in state:
        raise UserError(f"--init {path}: holds no configuration; name one with --config")
    return stored_config(state, path, [*OF_THEIR_OWN, *options])


def initialise(model: nn.Module, config: Config, init: str | None) -> None:
    """Prepare a fresh model for its first step, with the weights of the file `init` if there is one.

    Raises:
        UserError: the file cannot be used, or its weights do not fit.
    """
    hold_flow_still(model, config)
    if init is not None:
        load_weights(model, init)


def require_one_start(config: Config, init: str | None) -> None:
    """Raise a `UserError` if both `--init` and the configuration name weights."""
    if init is not None and config.model.vrt.pretrained is not None:
        raise UserError(f"--init {init}: MODEL.VRT.PRETRAINED names weights too; set it to none, or leave out --init")

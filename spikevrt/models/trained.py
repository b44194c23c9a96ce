"""Opens trained models: checkpoints of this project, and files of weights alone by the preset that they fit."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikevrt.config import Config, distinct_presets, load_config
from spikevrt.errors import UserError, one_line
from spikevrt.models.backends.choose import choose_backends
from spikevrt.models.build import build_model
from spikevrt.models.checkpoint import LICENCE, compare, load_weights, unwrap
from spikevrt.models.planning import model_without_storage
from spikevrt.models.weights.files import read_state
from spikevrt.models.weights.hints import FIRST, PUBLISHED, likely_cause
from spikevrt.models.weights.origin import check_format, check_size, check_weights_are_there, stored_config


def load_trained_model(
    path: str | Path, options: Sequence[str] = (), config: str | None = None, device: torch.device | None = None
) -> tuple[nn.Module, Config]:
    """Load a trained model in eval mode on the CPU; it gets the EMA of the weights if the file has one.

    Args:
        path: a checkpoint of this project, a name of `spikevrt.weights`, the published weights of VRT for deblurring,
            or other weights together with `config`.
        options: `KEY=VALUE` changes to the file's configuration.
        config: a preset or YAML file for weights alone; ignored for a checkpoint of this project.
        device: device for which attention backends are chosen.

    Raises:
        UserError: the file or the configuration is missing, the weights do not fit (the message names the preset that
            they fit, or the nearest one), or a backend cannot run.
    """
    state = read_state(path)
    check_format(state, path)
    weights, _ema = unwrap(state, str(path))
    if isinstance(state.get("config"), dict):
        built = stored_config(state, path, options)
    else:
        built = load_config(config or recognised(weights, path), options)
    check_weights_are_there(state, built, path)
    check_size(weights, built, path)
    model = build_model(built, False, choose_backends(built, device, training=False))
    load_weights(model, state, strict=True, name=str(path))
    return model.eval(), built


@cache
def shapes_of(preset: str) -> tuple[dict[str, Tensor], set[str]]:
    """The state of a preset's model, without storage, and which names of it the model computes."""
    model = model_without_storage(load_config(preset))
    return model.state_dict(), {name for name, _ in model.named_buffers()}


def recognised(weights: Mapping[str, Any], path: str | Path) -> str:
    """The preset that weights without a configuration stand for, by their names and shapes; prints it and the licence.

    Only the published weights stand for a preset. Others may fit one, but how spikes become voxels, for example, is in
    no weight, so whoever has them names it.

    Raises:
        UserError: they stand for none; the message names the preset that they fit, or the nearest to weights of a VRT.
    """
    if not any(name.endswith(FIRST) for name in weights):
        raise UserError(f"checkpoint {path}: holds no configuration; name one with --config")
    if not compare(weights, *shapes_of(PUBLISHED)):
        print(one_line(f"weights {path}: fit the preset {PUBLISHED}; {LICENCE}"))
        return PUBLISHED
    reports = {preset: compare(weights, *shapes_of(preset)) for preset in distinct_presets()}
    best, report = min(reports.items(), key=lambda item: item[1].count)
    if not report:
        raise UserError(
            f"checkpoint {path}: holds no configuration; its weights fit the preset {best}: give --config {best}, or "
            "the file that they were trained with"
        )
    raise UserError(
        f"checkpoint {path}: holds no configuration and fits no preset; the nearest is {best}: "
        f"{likely_cause(weights, shapes_of(best)[0])}{report}; name its own with --config"
    )

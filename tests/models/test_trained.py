"""Files of weights alone are opened by the preset that their names and shapes fit, or say in one line why not."""

import json

import pytest
import torch
from torch import Tensor

from spikevrt.errors import UserError
from spikevrt.models import load_trained_model
from spikevrt.models.trained import recognised, shapes_of
from spikevrt.models.weights.hints import PUBLISHED, likely_cause

COMPUTED = ("relative_position_index", "position_bias", "spynet.mean", "spynet.std")


def zeros(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """A state of these names and shapes that takes no memory."""
    kinds = {name: torch.int64 if name.endswith("_index") else torch.float32 for name in shapes}
    return {name: torch.zeros((), dtype=kinds[name]).expand(shape) for name, shape in shapes.items()}


def state_of(preset: str) -> dict[str, Tensor]:
    return zeros({name: list(value.shape) for name, value in shapes_of(preset)[0].items()})


@pytest.fixture(scope="module")
def published(conformance_dir):
    """Names and shapes of the file 006."""
    return zeros(json.loads((conformance_dir / "vrt_006_state_dict.json").read_text()))


@pytest.mark.parametrize("buffers", [True, False], ids=["buffers", "no-buffers"])
def test_the_published_names_and_shapes_are_recognised_and_the_licence_printed(published, buffers, capsys):
    weights = {name: value for name, value in published.items() if buffers or not name.endswith(COMPUTED)}
    assert recognised(weights, "006.pth") == PUBLISHED
    assert capsys.readouterr().out == (
        "weights 006.pth: fit the preset vrt_gopro; official VRT weights are CC-BY-NC 4.0 (not for commercial use)\n"
    )


def without_a_group(weights):
    return {name: value for name, value in weights.items() if not name.startswith("stage8.4.")}


def of_shorter_windows(weights):
    return {name: torch.zeros(2025, 6) if len(value) == 2475 else value for name, value in weights.items()}


def noise_too(weights):
    return weights | {"conv_first.weight": torch.zeros(96, 30, 1, 3, 3)}


def super_resolution(weights):
    return weights | {"conv_before_upsample.0.weight": torch.zeros(64, 96, 1, 3, 3)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_a_group, "the nearest is vrt_gopro: MODEL.VRT.DEPTHS seems to differ: 62 missing (stage8.4."),
        (of_shorter_windows, "the nearest is vrt_gopro: MODEL.WINDOW_SIZE seems to differ"),
        (noise_too, "the nearest is vrt_gopro: 1 of another shape (conv_first.weight: [96, 30, 1, 3, 3] != [96, 27,"),
        (super_resolution, "the nearest is vrt_gopro: these are weights of a VRT for super-resolution"),
        (lambda weights: state_of("default"), "its weights fit the preset default: give --config default"),
        (lambda weights: state_of("finetune_gopro"), "fit the preset finetune_gopro: give --config finetune_gopro"),
        (lambda weights: {"a": torch.zeros(1)}, "holds no configuration; name one with --config"),
    ],
    ids=["groups", "window", "denoising", "upsampling", "default", "finetune", "other"],
)
def test_other_weights_name_the_preset_that_fits_or_what_differs_from_the_nearest(published, change, told):
    with pytest.raises(UserError) as caught:
        recognised(change(published), "x.pth")
    message = str(caught.value)
    assert message.startswith("checkpoint x.pth: holds no configuration")
    assert told in message
    assert "\n" not in message
    assert "--config" in message


@pytest.mark.parametrize("preset", ["default", "fast", "demo"])
def test_published_weights_in_a_model_of_other_widths_name_their_presets(published, preset):
    own = shapes_of(preset)[0]
    backbone = {name.removeprefix("vrt."): value for name, value in own.items() if name.startswith("vrt.")}
    for model in (own, backbone):
        assert "of the preset vrt_gopro (finetune_gopro with spikes): " in likely_cause(published, model)
    assert "published" not in likely_cause(super_resolution(published), backbone)


def test_a_configuration_that_is_named_comes_first(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="neither a preset"):
        load_trained_model(tmp_path / "weights.pth", config="nowhere")

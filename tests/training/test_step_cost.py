"""The cost of a training step: run on the CPU, and its peak memory predicted without storage."""

import json

import pytest
import torch

from bench import training_step as command
from bench.training_step import main
from spikevrt.config import load_config
from spikevrt.models import build_model
from spikevrt.models.planning import count, model_without_storage
from spikevrt.training.step_cost import CPU, StepFigures, make_step, predicted_training_peak

SMALL = [
    "MODEL.VRT.DEPTHS=[2,1,1,1,1,1,1,1]",
    "MODEL.VRT.INDEP_RECONSTS=[7]",
    "DATA.CROP_SIZE=64",
    "TRAIN.BATCH_SIZE=1",
]


def config(*options):
    return load_config("demo", [*SMALL, *options])


def test_the_command_prints_seconds_and_a_prediction(capsys):
    assert main(["--config", "demo", "--opts", *SMALL, "MODEL.USE_SPIKE=false", "--device", "cpu"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["seconds"] > 0
    assert figures["peak"] is None
    assert figures["predicted"] is None, "auto is decided on the device"


def test_what_was_measured_stands_there_before_anything_is_predicted(monkeypatch, capsys):
    monkeypatch.setattr(command, "measured_step", lambda *_: StepFigures(1.5, None))
    monkeypatch.setattr(command, "predicted_training_peak", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["--config", "demo", "--attn-backend", "sdpa", "--device", "cpu"])
    assert json.loads(capsys.readouterr().out)["seconds"] == 1.5


def test_a_step_moves_the_weights():
    model = build_model(config("MODEL.USE_SPIKE=false"))
    before = model.conv_last.weight.detach().clone()
    make_step(model, config("MODEL.USE_SPIKE=false"), CPU, None)()
    assert not torch.equal(model.conv_last.weight, before)


def test_predicted_peak_holds_the_whole_state_and_features_that_grow_with_the_batch():
    """Weights, gradients, two moments and the mean; the fused kernels are planned without a GPU.

    Features are most before there are gradients.
    """
    weights = 4 * count(model_without_storage(config()))
    one, two = (
        predicted_training_peak(config("MODEL.ATTN_BACKEND=triton", f"TRAIN.BATCH_SIZE={clips}"), torch.bfloat16)
        for clips in (1, 2)
    )
    assert one > 5 * weights
    assert 1.7 < (two - 4 * weights) / (one - 4 * weights) < 2.1

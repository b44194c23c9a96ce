"""Every kernel of training, validation and restoration is one that a checked case runs."""

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.models import build_model, run_model
from spikevrt.models.backends.trials import operator_trials
from spikevrt.models.vrt.window_block import WindowBlock
from spikevrt.restoration.padding import plan_padding
from spikevrt.training.step_cost import CPU, make_step
from spikevrt_kernels.checks.needed import needed_launches
from spikevrt_kernels.core.backends import planning
from spikevrt_kernels.core.case import mixed
from spikevrt_kernels.core.keys import by_key
from spikevrt_kernels.core.launch import noted_launches
from spikevrt_kernels.proof.memory import without_storage

pytestmark = pytest.mark.binaries

PRESETS = ("default", "high_quality", "low_memory", "fast", "demo")
HALF = torch.bfloat16
FRAMES = ((250, 400), (68, 100), (264, 296))
"""Of restoration; their padded eighths hold a multiple of 16 pixels, of 4 and an odd number."""
FAMILIES = 83
"""Binaries of a default start on sm_90."""
SMALL = ("MODEL.VRT.DEPTHS=[4,1,1,1,1,1,1,2]", "MODEL.VRT.INDEP_RECONSTS=[7]", "TRAIN.BATCH_SIZE=1")


def preset(name, *options):
    return load_config(name, ["MODEL.ATTN_BACKEND=triton", *options])


@pytest.fixture
def once_a_kind(monkeypatch):
    """Blocks of one kind, on features of one kind, call the same operators: each kind runs once a pass."""
    run, seen = WindowBlock.forward, set()

    def forward(block, x):
        attn = block.attn
        kind = (
            attn.window,
            attn.heads,
            attn.mutual,
            block.shift,
            x.shape,
            x.stride(),
            x.dtype,
            torch.is_grad_enabled(),
        )
        if kind in seen:
            return x
        seen.add(kind)
        return run(block, x)

    monkeypatch.setattr(WindowBlock, "forward", forward)
    return seen


def model_of(config):
    with planning(), torch.device("meta"):
        return build_model(config, pretrained=False)


def training(config):
    """Keys of a training step."""
    model = model_of(config)
    with noted_launches() as noted, without_storage(for_cuda=True):
        make_step(model.to_empty(device="cpu"), config, CPU, HALF)()
    return set(by_key(noted))


def restoring(config, *sizes):
    """Keys of one clip of each size (H,W), without gradients."""
    model, T, K = model_of(config), config.data.clip_len, config.data.k
    with noted_launches() as noted, without_storage(for_cuda=True), torch.no_grad(), torch.autocast("cpu", HALF):
        model = model.to_empty(device="cpu").eval()
        for size in sizes:
            run_model(model, torch.empty(1, T, 3, *size), torch.empty(1, T, K, *size))
    return set(by_key(noted))


def proved(config, training):
    """Keys of what is checked before a run."""
    trials = operator_trials(config, config.train.batch_size if training else 1, training)
    cases = [case for own in trials.values() for case in own.checked]
    return set(by_key(needed_launches(cases, mixed(HALF), training)))


@pytest.mark.parametrize("name", PRESETS)
def test_all_that_a_run_compiles_is_proved(name, once_a_kind):
    config = preset(name)
    crop = (config.data.crop_size, config.data.crop_size)
    checked = proved(config, training=True)
    once_a_kind.clear()
    step = training(config)
    once_a_kind.clear()
    found = step | restoring(config, crop)
    assert any("bwd" in key.kernel for key in step)
    assert found <= checked
    if name == "default":
        assert found == checked, "nothing is compiled that a run does not need"
        assert len(found) == FAMILIES


@pytest.mark.parametrize("name", PRESETS)
def test_all_that_restoration_compiles_is_proved(name, once_a_kind):
    config = preset(name)
    sizes = [plan_padding(size, config.model.window_size).padded for size in FRAMES]
    found = restoring(config, *sizes)
    assert len({pixels(size) % 16 == 0 for size in sizes}) == 2
    assert found <= proved(config, training=False)


def pixels(size):
    return size[0] // 8 * (size[1] // 8)


def test_running_each_kind_of_block_once_hides_nothing(monkeypatch, once_a_kind):
    config = preset("demo", *SMALL)
    sparse = training(config)
    monkeypatch.undo()
    assert training(config) == sparse


def test_what_is_timed_compiles_nothing_more():
    config = preset("default")
    trials = operator_trials(config, config.train.batch_size)
    timed = [case for own in trials.values() for case in own.timed]
    assert set(by_key(needed_launches(timed, mixed(HALF)))) <= proved(config, training=True)

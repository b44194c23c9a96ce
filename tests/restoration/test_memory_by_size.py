"""Memory of restoring: one small forward says what frames of any size need."""

import pytest
import torch

from spikevrt.models import build_model, run_model
from spikevrt.models.half_weights import half_precision
from spikevrt.restoration.memory import (
    CPU,
    padded_size,
    restoration_memory,
    window_on_device,
    window_peak,
)
from spikevrt_kernels.core.backends import planning
from spikevrt_kernels.core.names import Backends
from spikevrt_kernels.proof.memory import predicted_peak
from tests.small_data import small_config

HALF = torch.bfloat16
SHALLOW = (
    "MODEL.VRT.DEPTHS=[1,1,1,1,1,1,1,1]",
    "MODEL.VRT.INDEP_RECONSTS=[7]",
    "MODEL.VRT.NUM_HEADS=[2, 2, 2, 2, 2, 2, 2, 2]",
)


def test_memory_grows_with_the_area(tree):
    config = small_config(tree, *SHALLOW)
    size = padded_size(config, (476, 636))
    _, exact = window_peak(config, Backends.of("triton"), HALF, size)
    assert restoration_memory(config, Backends.of("triton"), HALF).peak(size) == pytest.approx(exact, rel=0.03)


def test_a_segment_that_is_looked_at_once_counts_like_one_that_runs_every_time(tree):
    config, size = small_config(tree, *SHALLOW), (64, 96)
    with planning(), torch.device("meta"):
        model = build_model(config, False, Backends.of("triton")).eval()

    def setup():
        model.to_empty(device="cpu")

        def restore():
            raw = window_on_device(config, size)
            frames = raw["blur"].float() / 255
            with torch.no_grad(), half_precision(model, CPU, HALF):
                run_model(model, frames, raw["counts"].float())

        return restore

    whole = predicted_peak(setup, iterations=1, for_cuda=True)
    assert window_peak(config, Backends.of("triton"), HALF, size)[1] == pytest.approx(whole, rel=0.01)


def test_frames_are_padded_as_deblur_pads_them(tree):
    config = small_config(tree)
    assert padded_size(config, (1080, 1921)) == (1080, 1928)
    assert padded_size(config, (8, 8)) == (40, 40)

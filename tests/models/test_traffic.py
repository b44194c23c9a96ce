"""Bytes of a whole forward pass, counted without running it, equal those of a real run."""

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.models import Backends, build_model, run_model
from spikevrt.models.traffic import forward_traffic
from spikevrt.plan import main as plan
from spikevrt_kernels.core.names import BACKENDS
from spikevrt_kernels.proof.operator_counter import count_operators

SMALL = [
    "MODEL.VRT.DEPTHS=[2,1,1,1,1,1,1,1]",
    "MODEL.VRT.INDEP_RECONSTS=[7]",
    "DATA.CROP_SIZE=64",
]


@torch.no_grad()
def test_a_run_moves_what_was_counted_without_it():
    config = load_config("demo", SMALL)
    model = build_model(config, False, Backends.of("naive")).eval()
    T, S = config.data.clip_len, config.data.crop_size
    frames, voxels = torch.rand(1, T, 3, S, S), torch.rand(1, T, config.data.k, S, S)
    with count_operators() as traffic:
        run_model(model, frames, voxels)
    found = forward_traffic(config, "naive", None)
    assert (found.bytes, found.launches) == (traffic.bytes, traffic.launches)


def test_kernels_move_less_than_plain_operators_and_half_types_less_than_whole_ones():
    config = load_config("demo", SMALL)
    naive, fused, half = (
        forward_traffic(config, backend, dtype)
        for backend, dtype in (("naive", None), ("triton", None), ("triton", torch.bfloat16))
    )
    assert half.bytes < fused.bytes < 0.7 * naive.bytes
    assert fused.launches < naive.launches
    assert fused.by_operator["spikevrt::window_attention"] > 0
    assert fused.by_operator["spikevrt::temporal_block"] > 0


@pytest.mark.parametrize(("frames", "reason"), [(5, ""), (9, "T = 9 is above 8")])
def test_the_command_has_a_line_for_every_backend(frames, reason, capsys):
    options = [*SMALL, f"DATA.CLIP_LEN={frames}", "TRAIN.MIXED_PRECISION=false"]
    assert plan(["--config", "demo", "--traffic", "--opts", *options]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if " float32 " in line]
    lines = {row[0]: " ".join(row) for row in rows if row[0] in BACKENDS}
    assert list(lines) == ["naive", "sdpa", "triton"]
    assert float(lines["naive"].split()[2]) > float(lines["sdpa"].split()[2])
    assert reason in lines["triton"]

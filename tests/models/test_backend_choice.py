"""`auto` on a device where backends are tried: the logic on the CPU, with the trial switched on."""

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.errors import UserError
from spikevrt.models import Backends, attention_trials, backend_choice, build_model, choose_backends
from spikevrt.models.spike_temporal_sa import TemporalSelfBlock
from spikevrt.models.vrt.window_block import WindowAttention
from spikevrt_kernels.checks.timing import Timer

CPU = torch.device("cpu")
SMALL = [
    "MODEL.CHANNELS_PER_SCALE=[8,8,8,8]",
    "MODEL.SPIKE_TSA.HEADS=2",
    "MODEL.FUSE.HEADS=2",
    "MODEL.SPIKE_ENCODER.TEMPORAL_STRIDES=[2,1,1]",
    "DATA.CLIP_LEN=3",
    "DATA.CROP_SIZE=64",
]


def config(backend="auto", *options):
    return load_config("demo", [*SMALL, f"MODEL.ATTN_BACKEND={backend}", *options])


@pytest.fixture
def tried(monkeypatch):
    """Backends are tried on the CPU, on small maps, and `naive` and `sdpa` take turns in being the fastest."""
    monkeypatch.setattr(backend_choice, "tried_on", lambda device: True)
    monkeypatch.setattr(attention_trials, "CUT", 8)
    times = {("temporal_block", "naive"): 0.001, ("window_attention", "sdpa"): 0.001}
    monkeypatch.setattr(Timer, "seconds", lambda timer, case, backend: times.get((case.op, backend), 0.002))


def test_nothing_is_tried_on_the_cpu(monkeypatch, capsys):
    monkeypatch.setattr(backend_choice, "prove_on", None)
    for device in (None, CPU):
        assert choose_backends(config(), device) == Backends("sdpa", "sdpa")
        assert choose_backends(config("naive"), device) == Backends("naive", "naive")
    with pytest.raises(UserError, match="attention backend triton cannot run: "):
        choose_backends(config("triton"), CPU)
    assert capsys.readouterr().out == ""


def test_auto_takes_the_fastest_by_operator_and_says_so_in_one_line(tried, capsys):
    torch.manual_seed(1)
    wanted = torch.randn(3)
    torch.manual_seed(1)
    backends = choose_backends(config(), CPU)
    assert torch.equal(torch.randn(3), wanted), "the run's random state is left alone"
    assert backends == Backends(temporal_block="naive", window_attention="sdpa")
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert line.startswith("attention: temporal_block takes naive, 8.0 ms (triton: cannot run: there is no CUDA device")
    assert "; window_attention takes sdpa, " in line


def test_the_model_runs_what_was_chosen_and_computes_the_same(tried):
    torch.manual_seed(0)
    model = build_model(config(), backends=Backends("naive", "sdpa")).double()
    modules = list(model.modules())
    assert {m.attn_backend for m in modules if isinstance(m, TemporalSelfBlock)} == {"naive"}
    assert {m.attn_backend for m in modules if isinstance(m, WindowAttention)} == {"sdpa"}
    torch.manual_seed(0)
    plain = build_model(config("sdpa")).double()
    x, voxels = torch.rand(1, 3, 3, 64, 64).double(), torch.rand(1, 3, config().data.k, 32, 32).double()
    with torch.no_grad():
        assert (model.eval()(x, voxels) - plain.eval()(x, voxels)).abs().max() < 1e-12


def test_names_are_taken_at_their_word(tried, monkeypatch):
    monkeypatch.setattr(backend_choice, "prove_on", None)
    assert choose_backends(config("naive"), CPU) == Backends("naive", "naive")


def test_plain_vrt_has_no_blocks_along_time(tried, capsys):
    assert choose_backends(config("auto", "MODEL.USE_SPIKE=false"), CPU).window_attention == "sdpa"
    assert "temporal_block" not in capsys.readouterr().out


def test_a_wrong_backend_is_not_taken_and_none_right_ends_in_one_line(tried, monkeypatch, capsys):
    judged = backend_choice.Judge.reason
    wrong = {"naive"}

    def reason(judge, case, backend):
        return "wrong: off by 1" if backend in wrong else judged(judge, case, backend)

    monkeypatch.setattr(backend_choice.Judge, "reason", reason)
    assert choose_backends(config(), CPU) == Backends("sdpa", "sdpa")
    assert "temporal_block takes sdpa, 16.0 ms (triton: cannot run" in capsys.readouterr().out
    wrong.add("sdpa")
    with pytest.raises(
        UserError, match=r"no attention backend is right here .*; python -m spikevrt.selftest"
    ) as caught:
        choose_backends(config(), CPU)
    assert "\n" not in str(caught.value)


def test_trials_are_the_models_own_shapes():
    trials = attention_trials.attention_trials(load_config("default"), 2)
    blocks, windows = trials["temporal_block"], trials["window_attention"]
    assert [case.shape for case in blocks.timed][:2] == ["self B2-C96-T5-H256W256", "cross B2-C96-T5-Tk5-H256W256"]
    assert [case.shape for case in blocks.checked] == [
        f"{kind}-H{size}W{size}" for size in (64, 32) for kind in ("self B2-C96-T5", "cross B2-C96-T5-Tk5")
    ]
    assert len({case.shape for case in windows.timed}) == len(windows.timed) == 18
    assert "self B2-D5-H256W256-C96 window 1x8x8" in [case.shape for case in windows.timed]
    assert "self B2-D5-H256W256-C96 window 1x8x8 shifted" in [case.shape for case in windows.timed]
    assert "mutual B2-D5-H32W32-C96 window 2x8x8" in [case.shape for case in windows.checked]
    assert "mutual B2-D5-H20W20-C96 window 2x8x8 shifted" in [case.shape for case in windows.checked], "padded"
    shortened = attention_trials.attention_trials(config(), 1)["temporal_block"]
    assert "cross B1-C8-T3-Tk2-H32W32" in [case.shape for case in shortened.timed]


def test_frames_of_any_size_are_tried_with_any_number_of_pixels():
    crops, frames = (
        attention_trials.attention_trials(load_config("default"), 1, training) for training in (True, False)
    )
    sizes = {case.shape.rpartition("-")[2] for case in frames["temporal_block"].checked}
    assert sizes == {"H64W64", "H32W32", "H8W9", "H6W10", "H6W9", "H7W9"}
    assert {case.shape.rpartition("-")[2] for case in crops["temporal_block"].checked} == {"H64W64", "H32W32"}


def test_groups_of_one_width_and_different_heads_are_tried_each():
    heads = "MODEL.VRT.NUM_HEADS=[4,2,2,2,2,2,2,1,1]"
    windows = attention_trials.attention_trials(config("auto", heads), 1)["window_attention"].checked
    shapes = [case.shape for case in windows]
    assert len(shapes) > len(set(shapes))

"""`auto` on a device where backends are tried: runs on the CPU, with trials switched on."""

import dataclasses
from functools import partial

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.errors import UserError
from spikevrt.models import Backends, build_model, choose_backends
from spikevrt.models.backends import choose as backend_choice
from spikevrt.models.backends import trials as backend_trials
from spikevrt.models.backends.choose import forget_choices
from spikevrt.models.temporal import TemporalSelfBlock
from spikevrt.models.vrt.window_block import WindowAttention
from spikevrt_kernels.checks import trials
from spikevrt_kernels.checks.fastest import Choice, Finding, Trials
from spikevrt_kernels.core.user_cache import cache_folder
from tests import broken_kernels
from tests.broken_kernels import broken

CPU, OP = torch.device("cpu"), "window_attention"
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
def tried(monkeypatch, tmp_path):
    """Backends are tried on the CPU, in small, with a kernel that does what `sdpa` does."""
    monkeypatch.setenv("SPIKEVRT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(backend_choice, "tried_on", lambda device: True)
    monkeypatch.setattr(backend_choice, "resolve_backend", lambda name: "sdpa" if name == "auto" else name)
    monkeypatch.setattr(backend_choice, "candidates", lambda op: ("triton", "sdpa"))
    monkeypatch.setattr(trials, "PATIENCE", 4.0)
    kernel(monkeypatch, None)


def kernel(monkeypatch, fault):
    """The model's only trial, with a fault in its kernel."""
    own = (dataclasses.replace(broken(fault), op=OP),)
    monkeypatch.setattr(backend_choice, "operator_trials", lambda *_: {OP: Trials(own, own, own)})


def started(capsys, backend="auto"):
    """What a start takes and prints; the timings are what they are."""
    backends = choose_backends(config(backend), CPU)
    return backends.window_attention, capsys.readouterr().out


def test_nothing_is_tried_on_the_cpu(monkeypatch, capsys):
    monkeypatch.setattr(backend_choice, "prove_on", None)
    for device in (None, CPU):
        assert choose_backends(config(), device) == Backends.of("sdpa")
        assert choose_backends(config("naive"), device) == Backends.of("naive")
    with pytest.raises(UserError, match="attention backend triton cannot run: "):
        choose_backends(config("triton"), CPU)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (broken_kernels.exits, "ends with code 7 at "),
        (broken_kernels.sleeps, "gave no answer within 4 s at "),
        (broken_kernels.poisons, "fails at B1-C8-T2-Tk3-H8W16: RuntimeError: CUDA error: an illegal memory access"),
        (broken_kernels.row_off, "wrong: output is off by "),
    ],
    ids=["exits", "sleeps", "poisons", "wrong"],
)
def test_a_broken_kernel_costs_itself_alone(tried, monkeypatch, capsys, fault, reason):
    kernel(monkeypatch, fault)
    taken, line = started(capsys)
    assert taken == "sdpa"
    assert line.startswith("attention: window_attention takes sdpa, ")
    assert f"(triton: {reason}" in line
    assert line.count("\n") == 1
    with pytest.raises(UserError, match="window_attention: attention backend triton: ") as caught:
        choose_backends(config("triton"), CPU)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "run python -m spikevrt.selftest for details" in str(caught.value)


def test_half_precision_hides_what_float32_shows(tried, monkeypatch, capsys):
    """Gradients too large by half a hundredth: bfloat16 alone rounds as much."""
    monkeypatch.setattr(backend_choice, "half_type", lambda device, wanted: torch.bfloat16)
    kernel(monkeypatch, partial(broken_kernels.in_gradient, broken_kernels.slightly_off))
    taken, line = started(capsys)
    assert taken == "sdpa"
    assert "wrong: gradient of " in line
    assert "in float32)" in line


def test_a_second_start_costs_nothing_until_something_changes(tried, monkeypatch, capsys):
    torch.manual_seed(1)
    wanted = torch.randn(3)
    torch.manual_seed(1)
    first, line = started(capsys)
    assert torch.equal(torch.randn(3), wanted), "the run's random state is left alone"
    monkeypatch.setattr(backend_choice, "choices", None)
    second, again = started(capsys)
    assert (second, again) == (first, line.rstrip() + "; stored by an earlier run, --prove-again tries again\n")
    with monkeypatch.context() as context:
        context.setattr(backend_choice, "sources", lambda: "other kernels")
        with pytest.raises(TypeError):
            choose_backends(config(), CPU)
    forget_choices()
    with pytest.raises(TypeError):
        choose_backends(config(), CPU)


@pytest.mark.parametrize(
    "option",
    [
        "MODEL.FUSE.HEADS=4",
        "MODEL.SPIKE_TSA.MLP_RATIO=1",
        "MODEL.FUSE.MAX_BATCH_TOKENS=96",
        "MODEL.VRT.NUM_HEADS=[2,2,2,2,2,2,2,2,2]",
        "DATA.CROP_SIZE=128",
        "TRAIN.BATCH_SIZE=3",
    ],
)
def test_what_was_found_is_of_one_configuration(option):
    def name(*options):
        return backend_choice.file_name(backend_choice.wanted(CPU, config("auto", *options), True), CPU)

    assert name() == name()
    assert name(option) != name()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"choices": 3}', '{"choices": [["op"]]}', "\0"])
def test_a_damaged_file_is_a_start_without_one(tried, text):
    asked, found = backend_choice.wanted(CPU, config(), True), [Choice(OP, (Finding("sdpa", True, 0.5),))]
    backend_choice.keep_choices(found, asked, CPU)
    assert backend_choice.read_choices(asked, CPU) == found
    (path,) = cache_folder().rglob("*.json")
    path.write_text(text)
    assert backend_choice.read_choices(asked, CPU) is None


@pytest.mark.parametrize(
    "option",
    [
        "MODEL.FUSE.HEADS=4",
        "MODEL.SPIKE_TSA.MLP_RATIO=3",
        "MODEL.FUSE.MAX_BATCH_TOKENS=96",
        "MODEL.VRT.NUM_HEADS=[4,4,4,4,4,4,4,2,2]",
        "DATA.CROP_SIZE=48",
        "TRAIN.BATCH_SIZE=3",
        "MODEL.ATTN_BACKEND=triton",
    ],
)
def test_what_was_found_belongs_to_its_configuration(option):
    first = backend_choice.wanted(CPU, config(), True)
    backend_choice.keep_choices([Choice(OP, (Finding("sdpa", True, 0.5),))], first, CPU)
    assert backend_choice.read_choices(first, CPU)
    assert backend_choice.read_choices(backend_choice.wanted(CPU, config("auto", option), True), CPU) is None
    assert backend_choice.read_choices(backend_choice.wanted(CPU, config(), False), CPU) is None


def test_what_only_lacked_memory_is_tried_again(tried, monkeypatch, capsys):
    kernel(monkeypatch, broken_kernels.out_of_memory)
    taken, line = started(capsys)
    assert taken == "sdpa"
    assert "(triton: out of memory at " in line
    assert not list(cache_folder().rglob("*.json"))


@pytest.mark.parametrize("others", [["sdpa"], ["sdpa", "naive"]])
def test_a_machine_that_fails_pytorch_is_tried_again(tried, others):
    asked, lost = backend_choice.wanted(CPU, config(), True), "gave no answer within 120 s"
    found = [Choice(OP, tuple(Finding(b, b not in others, None, lost) for b in ("triton", "sdpa", "naive")))]
    backend_choice.keep_choices(found, asked, CPU)
    assert backend_choice.read_choices(asked, CPU) is None


def test_a_cache_folder_that_cannot_be_written_costs_time_only(tried, monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPIKEVRT_CACHE_DIR", str(tmp_path / "file"))
    assert started(capsys)[1].startswith("attention: ")


def test_the_model_runs_what_was_chosen_and_computes_the_same():
    torch.manual_seed(0)
    model = build_model(config(), backends=Backends("naive", "sdpa")).double()
    modules = list(model.modules())
    assert {m.settings.attn_backend for m in modules if isinstance(m, TemporalSelfBlock)} == {"naive"}
    assert {m.attn_backend for m in modules if isinstance(m, WindowAttention)} == {"sdpa"}
    torch.manual_seed(0)
    plain = build_model(config("sdpa")).double()
    x, voxels = torch.rand(1, 3, 3, 64, 64).double(), torch.rand(1, 3, config().data.k, 32, 32).double()
    with torch.no_grad():
        assert (model.eval()(x, voxels) - plain.eval()(x, voxels)).abs().max() < 1e-12


def test_names_are_taken_at_their_word(tried, monkeypatch):
    monkeypatch.setattr(backend_choice, "prove_on", None)
    assert choose_backends(config("naive"), CPU) == Backends.of("naive")


def test_plain_vrt_has_no_blocks_along_time():
    asked = backend_choice.wanted(CPU, config("auto", "MODEL.USE_SPIKE=false"), training=True)
    assert "temporal_block" not in asked.backends
    assert "window_attention" in asked.backends
    assert asked.backends["window_attention"] == ("triton", "sdpa", "naive")
    assert asked.timed
    named = backend_choice.wanted(CPU, config("triton"), training=False)
    assert set(named.backends.values()) == {("triton",)}
    assert not named.timed
    assert not named.backward


def test_trials_are_the_models_own_shapes():
    own = backend_trials.operator_trials(load_config("default"), 2)
    blocks, windows = own["temporal_block"], own["window_attention"]
    assert [case.shape for case in blocks.timed][:2] == ["self B2-C96-T5-H256W256", "cross B2-C96-T5-Tk5-H256W256"]
    assert [case.shape for case in blocks.checked] == [
        f"{kind}-H{size}W{size}" for size in (64, 32) for kind in ("self B2-C96-T5", "cross B2-C96-T5-Tk5")
    ]
    assert len({case.shape for case in windows.timed}) == len(windows.timed) == 18
    assert "self B2-D5-H256W256-C96 window 1x8x8" in [case.shape for case in windows.timed]
    assert "self B2-D5-H256W256-C96 window 1x8x8 shifted" in [case.shape for case in windows.timed]
    assert "mutual B2-D5-H32W32-C96 window 2x8x8" in [case.shape for case in windows.checked]
    assert "mutual B2-D5-H20W20-C96 window 2x8x8 shifted" in [case.shape for case in windows.checked], "padded"
    assert [case.shape for case in blocks.exact] == ["self B2-C96-T5-H32W32", "cross B2-C96-T5-Tk5-H32W32"]
    exact = ["mutual B2-D5-H32W32-C96 window 2x8x8 shifted", "self B2-D5-H32W32-C96 window 5x8x8 shifted"]
    assert [case.shape for case in windows.exact] == exact
    shortened = backend_trials.operator_trials(config(), 1)["temporal_block"]
    assert "cross B1-C8-T3-Tk2-H32W32" in [case.shape for case in shortened.timed]


def test_frames_of_any_size_are_tried_with_any_number_of_pixels():
    crops, frames = (backend_trials.operator_trials(load_config("default"), 1, training) for training in (True, False))
    sizes = {case.shape.rpartition("-")[2] for case in frames["temporal_block"].checked}
    assert sizes == {"H64W64", "H32W32", "H8W9", "H6W10", "H6W9", "H7W9"}
    assert {case.shape.rpartition("-")[2] for case in crops["temporal_block"].checked} == {"H64W64", "H32W32"}


def test_groups_of_one_width_and_different_heads_are_tried_each():
    heads = "MODEL.VRT.NUM_HEADS=[4,2,2,2,2,2,2,1,1]"
    windows = backend_trials.operator_trials(config("auto", heads), 1)["window_attention"].checked
    shapes = [case.shape for case in windows]
    assert len(shapes) > len(set(shapes))

"""The bench's behaviour on a GPU, simulated without one."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bench import bench_model, conftest
from bench.bench_deblur import random_clip
from bench.bench_model import compiled_or_not
from bench.results.measure import predicted_beside
from bench.results.rows import RESULT_COLUMNS, Row, tables
from bench.workloads.temporal import SELF, temporal_workload
from bench.workloads.workload import BY_HAND, DIRECTIONS
from spikevrt.config import load_config
from spikevrt.models import build_model
from spikevrt.restoration.stream import Restorer
from spikevrt_kernels.core.names import Backends

X = torch.ones(1, 2)


def square(model, x, half):
    return model(x).square()


def entries_of(monkeypatch, module, chosen=None, kernels=True):
    """What a module's tests are parametrized with."""
    taken = []
    config = SimpleNamespace(getoption=lambda name: chosen)
    metafunc = SimpleNamespace(
        fixturenames=["attn_backend"], config=config, module=module, parametrize=lambda name, found: taken.extend(found)
    )
    monkeypatch.setattr(conftest, "why_not_triton", lambda: None if kernels else "no GPU")
    conftest.pytest_generate_tests(metafunc)
    return taken


def test_the_model_is_offered_triton_where_it_runs_and_the_yardstick_beside_it(monkeypatch):
    module = SimpleNamespace(MORE_ENTRIES=(BY_HAND,))
    assert entries_of(monkeypatch, module) == ["naive", "sdpa", "triton", BY_HAND]
    assert entries_of(monkeypatch, module, BY_HAND) == [BY_HAND]
    assert entries_of(monkeypatch, SimpleNamespace(MORE_ENTRIES=()), kernels=False) == ["naive", "sdpa"]
    assert bench_model.MORE_ENTRIES == () or torch.cuda.is_available()


@pytest.mark.parametrize("entry", ["sdpa", BY_HAND])
def test_model_and_clip_of_an_entry_are_on_the_device(monkeypatch, entry):
    def where(model, x, half):
        return [x.device.type, *{p.device.type for p in model.parameters()}]

    monkeypatch.setitem(bench_model.STEP_OF, DIRECTIONS[0], where)
    monkeypatch.setattr(bench_model, "official_vrt", lambda backend: nn.Linear(2, 2))
    monkeypatch.setattr(bench_model, "compile_parts", lambda model: 0)
    run, said = bench_model.runner(entry, DIRECTIONS[0], "meta")
    assert run() == ["meta", "meta"]
    assert said == (", compiled" if entry == BY_HAND else "")
    assert bench_model.clip("cpu").shape[-1] == bench_model.CPU_SIDE


class Tanh(nn.Module):
    def forward(self, x):
        return x.tanh()


def compiled_by(error, monkeypatch):
    """Let the compiler of a model raise an error."""

    def backend(graph, inputs):
        raise error

    torch._dynamo.reset()
    monkeypatch.setattr(bench_model, "compile_parts", lambda model: model.compile(backend=backend))


def test_where_no_compiler_works_the_yardstick_runs_as_it_is_and_says_so(monkeypatch):
    compiled_by(RuntimeError("no C++ compiler\nmore"), monkeypatch)
    run, said = compiled_or_not(square, Tanh(), X, None)
    assert said == ", not compiled: RuntimeError: no C++ compiler"
    assert torch.equal(run(), X.tanh().square())


def test_no_memory_is_no_missing_compiler(monkeypatch):
    compiled_by(torch.OutOfMemoryError(), monkeypatch)
    with pytest.raises(torch.OutOfMemoryError):
        compiled_or_not(square, Tanh(), X, None)


def test_the_peak_of_a_model_is_predicted_without_a_gpu(monkeypatch):
    monkeypatch.setattr(bench_model, "official_vrt", lambda backend: nn.Conv3d(6, 6, 1))
    unit = bench_model.FRAME_COUNT * 3 * bench_model.CUDA_SIDE**2
    forward, both = (bench_model.predicted_memory("sdpa", direction) for direction in DIRECTIONS)
    assert 4 * unit + 2 * unit < forward <= both, "the clip in float32, and the result in half the bytes"


def test_a_measured_peak_stands_beside_the_predicted_one():
    work = temporal_workload(SELF, (1, 8, 2, 5, 4), torch.float32, "cpu")
    assert predicted_beside(work, "sdpa", DIRECTIONS[1]) is None, "on the CPU the peak itself is predicted"
    on_gpu = dataclasses.replace(work, device=torch.device("cuda"), compared={})
    assert predicted_beside(on_gpu, "triton", DIRECTIONS[1]) > work.unit
    assert predicted_beside(on_gpu, "published", DIRECTIONS[1]) is None
    row = Row(
        "op", "shape", "forward", "triton", "bfloat16", 32, 1024, 2048, peak=3 * 1024, predicted=2 * 1024,
        seconds=(1.0, 1.0, 1.0),
    )  # fmt: skip
    (line,) = [line for line in tables([row]) if line.startswith("triton")]
    assert line.split()[-1] == "1.50"
    assert RESULT_COLUMNS[-1] == "of predicted"


def test_random_frames_take_the_way_of_deblur():
    config = load_config("demo", ["DATA.CLIP_LEN=2", "TEST.CLIP_OVERLAP=1"])
    clip = random_clip(config, (16, 24))
    restorer = Restorer(build_model(config, False, Backends.of("sdpa")), config, torch.device("cpu"))
    frames = list(restorer.restore(clip))
    assert len(frames) == len(clip) == 3
    assert all(frame.shape == (3, 16, 24) for frame in frames)
    first, again = (next(iter(clip)) for _ in range(2))
    assert torch.equal(first.blur, again.blur)

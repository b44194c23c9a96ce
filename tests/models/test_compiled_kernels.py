"""A model's kernels are compiled for its device, with gradients for crops or without for frames."""

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.models.backends import compiled_kernels
from spikevrt_kernels import warmup
from spikevrt_kernels.core.backends import planning
from spikevrt_kernels.core.keys import by_key
from spikevrt_kernels.core.tuned import kernels_asked_for

CUDA = torch.device("cuda", 0)


@pytest.fixture
def compiled(monkeypatch):
    """What would be compiled, on an A100."""
    found = []

    def compile_all(launches, architecture, done):
        found.append((launches, architecture))
        for _ in launches:
            done()
        return ["a_kernel: CompilationError: too large"]

    monkeypatch.setattr(warmup, "compile_all", compile_all)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(compiled_kernels, "rows_on", lambda device: {})
    monkeypatch.setattr(
        compiled_kernels, "half_type", lambda device, wanted: None if wanted == "none" else torch.bfloat16
    )
    with planning():
        yield found


def test_each_binary_once_for_the_architecture_and_a_failure_is_one_line(compiled, capsys):
    compiled_kernels.compile_kernels(load_config("demo"), CUDA)
    compiled_kernels.compile_kernels(load_config("demo"), CUDA, training=False)
    (steps, architecture), (frames, _) = compiled
    assert architecture == 80
    assert len(by_key(steps)) == len(steps) > len(by_key(frames)) == len(frames)
    names = {launch.kernel.__name__ for launch in steps}
    assert {"temporal_block_attend_kernel", "window_attention_bwd_mutual_kernel"} <= names
    assert not any("bwd" in launch.kernel.__name__ for launch in frames)
    assert "not compiled: a_kernel: CompilationError: too large\n" in capsys.readouterr().out


def test_on_the_cpu_nothing_is_compiled(compiled):
    compiled_kernels.compile_kernels(load_config("demo"), torch.device("cpu"))
    assert compiled == []


def test_on_a_gpu_without_kernels_nothing_is_compiled(compiled, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    compiled_kernels.compile_kernels(load_config("demo"), CUDA)
    assert compiled == []


def test_what_the_kernels_cannot_run_is_not_compiled(compiled):
    """Clips of 9 frames, which the kernels along time do not take."""
    compiled_kernels.compile_kernels(load_config("demo", ["DATA.CLIP_LEN=9"]), CUDA, training=False)
    names = {launch.kernel.__name__ for launch in compiled[0][0]}
    assert "window_attention_fwd_kernel" in names
    assert not [name for name in names if name.startswith("temporal_")]


def test_tuned_rows_are_compiled_in_place_of_the_tables(compiled, monkeypatch):
    compiled_kernels.compile_kernels(load_config("demo"), CUDA)
    with kernels_asked_for() as asked:
        compiled_kernels.model_launches(load_config("demo"), CUDA)
    tuned = {kernel: (16, 16, 2) for kernel in asked if kernel.name == "mutual_backward"}
    assert tuned
    monkeypatch.setattr(compiled_kernels, "rows_on", lambda device: tuned)
    compiled_kernels.compile_kernels(load_config("demo"), CUDA)
    (table, _), (own, _) = compiled
    warps = [
        {launch.options["num_warps"] for launch in launches if launch.kernel.__name__.endswith("bwd_mutual_kernel")}
        for launches in (table, own)
    ]
    assert warps == [{4}, {2}]

"""Which backends can run where, and the messages that say why not."""

from types import SimpleNamespace

import pytest
import torch

from spikevrt_kernels.core import backends
from spikevrt_kernels.core.backends import (
    BackendError,
    can_run_triton,
    form_of,
    resolve_backend,
    takes_kernels,
    why_not_on,
)
from spikevrt_kernels.core.names import BACKENDS


def on_cuda(dtype=torch.bfloat16, frames=5):
    """All that is asked of a tensor on a GPU."""
    return SimpleNamespace(device=torch.device("cuda", 0), shape=(1, 96, frames, 8, 8), dtype=dtype)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of a given architecture."""
    monkeypatch.setattr(backends, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def make(major, minor):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))

    return make


@pytest.mark.parametrize("capability", [(7, 0), (7, 5)])
def test_below_sm_80_a_sentence_says_why(gpu, capability):
    gpu(*capability)
    sentence = (
        f"temporal_block: attention backend triton cannot run: sm_{capability[0]}{capability[1]} is below sm_80, "
        "which Triton gives no tensor cores; use sdpa"
    )
    assert why_not_on("temporal_block", on_cuda()) == sentence
    with pytest.raises(BackendError) as caught:
        resolve_backend("triton", "temporal_block", on_cuda())
    assert str(caught.value) == sentence
    assert not can_run_triton("temporal_block", on_cuda())


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (9, 0), (12, 0)])
def test_from_sm_80_on_it_runs(gpu, capability):
    gpu(*capability)
    assert resolve_backend("triton", "temporal_block", on_cuda()) == "triton"
    assert "T = 9 is above 8" in str(why_not_on("temporal_block", on_cuda(frames=9)))
    assert "float64 is not one of float32, float16, bfloat16" in str(
        why_not_on("temporal_block", on_cuda(torch.float64))
    )


def test_features_elsewhere_cannot_run(gpu):
    gpu(9, 0)
    assert "the features are on cpu, not on CUDA" in str(why_not_on("temporal_block", torch.empty(1, 8, 2, 2, 2)))


def test_plans_ask_nothing_of_the_machine():
    with backends.planning():
        assert resolve_backend("triton", "temporal_block", torch.empty(1, 8, 2, 2, 2)) == "triton"
        assert "T = 9" in str(why_not_on("temporal_block", torch.empty(1, 8, 9, 2, 2)))
    assert not backends.planned()


def test_sdpa_has_another_form_on_the_cpu_but_not_in_a_plan_for_cuda():
    x = torch.empty(1)
    assert [form_of(backend, x) for backend in BACKENDS] == ["triton", "cpu", "naive"]
    assert form_of("sdpa", x.to("meta")) == "sdpa"
    with backends.planning(for_cuda=True):
        assert form_of("sdpa", x) == "sdpa"


@pytest.mark.parametrize(("capability", "takes"), [((7, 5), False), ((8, 0), True)])
def test_kernels_are_for_gpus_from_sm_80_on(gpu, capability, takes):
    gpu(*capability)
    assert takes_kernels(torch.device("cuda", 0)) is takes
    assert not takes_kernels(torch.device("cpu"))

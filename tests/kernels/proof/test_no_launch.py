"""The driver without launches: the launcher runs as on a GPU, and its binaries are on disk."""

import pytest
import torch
import triton

from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.proof.no_launch import Launched, no_launch
from spikevrt_kernels.temporal_attention import temporal_attention


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def attend(frames=2):
    x = torch.randn(1, 8, frames, 3, 5, dtype=torch.bfloat16, requires_grad=True)
    temporal_attention(x, x, x, 2, backend="triton").sum().backward()


@pytest.mark.usefixtures("fresh_cache")
def test_a_call_is_compiled_once_and_its_launches_are_written_down():
    with no_launch() as record:
        attend()
        names = ["temporal_attention_fwd_kernel", "temporal_attention_bwd_kernel"]
        assert record.compiled == names
        assert record.launches == [Launched(name, (1, 2, 1)) for name in names]
        attend()
        assert len(record.launches) == 4
        assert record.compiled == names
        attend(3)
        assert len(record.compiled) == 4, "another T is another kernel"


@pytest.mark.usefixtures("fresh_cache")
def test_a_second_driver_finds_on_disk_what_the_first_compiled_and_another_architecture_does_not():
    with no_launch(90):
        attend()
    with no_launch(90) as record:
        attend()
    assert record.compiled == []
    with no_launch(80) as record:
        attend()
    assert len(record.compiled) == 2


def test_afterwards_all_is_as_before():
    with no_launch():
        pass
    assert triton.knobs.compilation.listener is None
    if not torch.cuda.is_available():
        with pytest.raises(BackendError):
            attend()

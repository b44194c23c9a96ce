"""Predicted peak memory of work whose memory is known."""

from math import prod

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from spikevrt.models.temporal import TemporalCrossBlock, TimeSettings
from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.proof.memory import predicted_peak
from spikevrt_kernels.temporal_attention import temporal_attention
from spikevrt_kernels.temporal_block import Chunking

UNIT = 4 * 256 * 256
"""Bytes of a weight of the small model."""


def small_model():
    return nn.Sequential(nn.Linear(256, 256, bias=False), nn.ReLU(), nn.Linear(256, 256, bias=False))


def test_temporaries_count_while_they_live():
    def setup():
        x = torch.randn(1000)

        def step():
            y = x * 2
            z = y + 1
            del y
            return z * 2

        return step

    assert predicted_peak(setup) == 3 * 4000


@pytest.mark.parametrize("on_meta", [False, True], ids=["made-inside", "from-meta"])
def test_a_training_step_with_the_optimisers_state(on_meta):
    with torch.device("meta"):
        metas = [small_model(), small_model()]

    def setup():
        model = metas.pop().to_empty(device="cpu") if on_meta else small_model()
        optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
        x = torch.randn(64, 256)

        def step():
            model(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    weights, features = 2 * UNIT, 4 * 64 * 256
    # Weights, gradients and two moments; then three temporaries of one weight, x, and two step counters.
    peak = predicted_peak(setup)
    assert peak == 4 * weights + 3 * UNIT + features + 8
    with FakeTensorMode(allow_non_fake_inputs=True), MemTracker() as tracker:
        step = setup()
        step()
        tracker.reset_mod_stats()
        step()
    assert peak == tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]


def peak_of_block(backend, chunk, T=5, training=True, for_cuda=False, side=64):
    def setup():
        block = TemporalCrossBlock(32, TimeSettings(attn_backend=backend, chunk=chunk))
        x, context = (torch.randn(1, 32, T, side, side, requires_grad=training) for _ in range(2))

        def step():
            with torch.set_grad_enabled(training):
                out = block(x, context)
            return torch.autograd.grad(out.sum(), [x, context, *block.parameters()]) if training else out

        return step

    return predicted_peak(setup, for_cuda=for_cuda)


def test_backends_of_the_temporal_block_and_its_chunks():
    """The fused block is planned on any machine, and needs far less, with all that it allocates inside itself.

    Its sums of weights' gradients do not grow with the features, so the difference shows where these are large.
    """
    features = 32 * 5 * 256 * 256 * 4
    assert peak_of_block("triton", None, side=256) < 11.5 * features
    assert peak_of_block("naive", None, side=256) > 21 * features
    assert peak_of_block("naive", Chunking(256), training=False) < peak_of_block("naive", None, training=False)
    assert peak_of_block("sdpa", None) != peak_of_block("sdpa", None, for_cuda=True), (
        "sdpa has a form of its own on CPU"
    )
    with pytest.raises(BackendError, match="T = 9 is above 8"):
        peak_of_block("triton", None, T=9)


def test_only_plans_take_triton_without_a_gpu():
    q = torch.randn(1, 8, 2, 2, 2)
    with pytest.raises(BackendError, match="triton cannot run"):
        temporal_attention(q, q, q, 2, backend="triton")


@pytest.mark.parametrize(
    ("size", "patches"),
    [((1, 4, 2, 12, 12), 4 * 4 * 27 * 2 * 12 * 12), ((2, 4, 2, 12, 12), 0), ((1, 4, 2, 2561, 1), 0)],
)
def test_small_single_samples_are_unfolded_on_a_cpu(size, patches):
    """As PyTorch does it: the allocations of the real convolution, seen by its profiler."""

    def work():
        x, weight = torch.zeros(size), torch.zeros(3, 4, 3, 3, 3)
        return lambda: torch.nn.functional.conv3d(x, weight, padding=1)

    made = 4 * (prod(size) + 3 * 4 * 27 + 3 * prod(size[2:]) * size[0])
    assert predicted_peak(work, iterations=1) == made + patches
    run = work()
    with torch.profiler.profile(profile_memory=True) as seen:
        run()
    taken = sum(one.self_cpu_memory_usage for one in seen.events() if one.self_cpu_memory_usage > 0)
    assert (taken > 4 * 4 * 27 * prod(size[2:])) == (patches > 0)

"""The spike modules on the `triton` backend: reference numbers, training, and unsupported cases."""

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.errors import UserError
from spikevrt.models import build_model
from spikevrt.models.temporal import TemporalCrossBlock, TemporalSelfBlock, TimeSettings
from spikevrt_kernels.core import backends
from spikevrt_kernels.proof.byte_counter import count_bytes
from tests.conformance.test_spike_reference import branch_errors


def test_reference_numbers_of_the_spike_branch(conformance_dir, within):
    with count_bytes() as launches:
        errors = branch_errors("triton", torch.float64, conformance_dir)
    assert len(launches) == 8, "one kernel a block, self and cross at four scales"
    for kind, error in errors.items():
        within(f"spike_odd {kind} triton float64", error, 1e-6)


def ten_steps(backend):
    """Losses and the last gradients of a self and a cross block, trained together."""
    torch.manual_seed(3)
    self_block = TemporalSelfBlock(48, TimeSettings(attn_backend=backend)).double()
    cross_block = TemporalCrossBlock(48, TimeSettings(attn_backend=backend)).double()
    parameters = [*self_block.parameters(), *cross_block.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    frames, spikes, target = torch.randn(3, 1, 48, 3, 8, 8, dtype=torch.float64)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = (cross_block(frames, self_block(spikes)) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), [p.grad for p in parameters]


def test_ten_optimizer_steps_equal_those_of_naive():
    losses, gradients = ten_steps("triton")
    wanted, wanted_gradients = ten_steps("naive")
    assert losses[-1] < losses[0]
    assert (losses - wanted).abs().max() < 1e-10
    assert all((a - b).abs().max() < 1e-10 for a, b in zip(gradients, wanted_gradients, strict=True))


def test_a_clip_that_is_too_long_is_refused_before_any_work():
    config = load_config("demo", ["MODEL.ATTN_BACKEND=triton", "DATA.ROOT=.", "DATA.CLIP_LEN=9"])
    with pytest.raises(UserError, match=r"DATA.CLIP_LEN 9: attention backend triton takes at most 8 frames"):
        build_model(config)


def test_auto_stays_with_sdpa_on_the_cpu():
    assert backends.resolve_backend("auto") == "sdpa"
    assert backends.resolve_backend("triton") == "triton"
    with pytest.raises(backends.BackendError, match="not on CUDA"):
        backends.can_run_triton("temporal_block", torch.empty(1, 8, 2, 2, 2, device="meta"), raises=True)

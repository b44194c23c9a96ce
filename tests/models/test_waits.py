"""Forward and backward never make the host wait for the device."""

from contextlib import suppress

import pytest
import torch

from spikevrt.models import build_model, run_model
from spikevrt_kernels.core.backends import planning
from tests.small_data import small_config
from tests.waits import DEVICE, counted_waits


@pytest.mark.parametrize("backend", ["triton", "sdpa", "naive"])
def test_a_forward_and_its_backward_never_wait(backend):
    config = small_config("/nowhere", f"MODEL.ATTN_BACKEND={backend}", "MODEL.VRT.DROP_PATH=0.1")
    with torch.device("meta"), planning():
        model = build_model(config, pretrained=False).train()
    blur, voxels = torch.rand(1, 2, 3, 40, 40, device=DEVICE), torch.rand(1, 2, 4, 40, 40, device=DEVICE)
    with counted_waits() as waits:
        run_model(model, blur, voxels).sum().backward()
    assert waits == []


def test_every_wait_is_counted():
    x, index, mask = torch.ones(3, device=DEVICE), torch.tensor([0, 1]), torch.ones(3, dtype=torch.bool, device=DEVICE)
    ways = [
        lambda: float(x[0]),
        lambda: bool(x[0] > 0),
        lambda: x[0].item(),
        lambda: x.tolist(),
        lambda: torch.equal(x, x),
        lambda: x.new_tensor((1, 2)),
        lambda: torch.tensor([1.0], device=DEVICE),
        lambda: x[index],
        lambda: x[mask],
        lambda: mask.nonzero(),
        lambda: index.to(DEVICE),
    ]
    for way in ways:
        # A size that depends on values is unknown here.
        with counted_waits() as waits, suppress(NotImplementedError, RuntimeError):
            way()
        assert len(waits) == 1
    with counted_waits() as waits:
        index.to(DEVICE, non_blocking=True)
        x[torch.zeros(2, dtype=torch.long, device=DEVICE)]
        x[1] = 2.0
    assert waits == []

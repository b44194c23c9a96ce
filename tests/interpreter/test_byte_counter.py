"""The byte counter, on a kernel whose traffic is known."""

import pytest
import torch

from spikevrt_kernels.proof.byte_counter import count_bytes
from tests.toy_kernels import weighted_sum_kernel


def run(n, step, offset=0):
    x = torch.randn(offset + n * step)[offset:]
    weight, count = torch.tensor([3.0]), torch.zeros(1, dtype=torch.int32)
    out = torch.full((n,), torch.nan)
    with count_bytes() as launches:
        weighted_sum_kernel[(-(-n // 32),)](x, weight, out, count, n, STEP=step, BLOCK=32)
    assert torch.equal(out, 3 * x[::step][:n])
    assert int(count) == -(-n // 32)
    return launches[0]


def test_bytes_of_every_tensor_and_program():
    traffic = run(70, 1)
    assert traffic.kernel == "weighted_sum_kernel"
    assert traffic.programs == 3
    x, weight = traffic.tensors["x_ptr"], traffic.tensors["weight_ptr"]
    assert x.distinct == x.per_program == 280, "the second load of a program is free"
    assert (weight.distinct, weight.per_program) == (4, 12), "each program loads the weight"
    assert traffic.tensors["out_ptr"].per_program == 280
    assert traffic.tensors["count_ptr"].atomics == 3
    assert traffic.total("x_ptr", "out_ptr") == 560
    assert traffic.total() == 560 + 12 + 12


def test_sectors_show_uncoalesced_access():
    assert run(64, 1).tensors["x_ptr"].sectors == 256
    assert run(64, 8).tensors["x_ptr"].sectors == 64 * 32
    assert run(64, 8).tensors["x_ptr"].per_program == 256


def test_storages_are_counted_once_whatever_their_views():
    both = torch.randn(64)
    weight, count = torch.ones(1), torch.zeros(1, dtype=torch.int32)
    with count_bytes() as launches:
        weighted_sum_kernel[(1,)](both[:32], weight, both[32:], count, 32, STEP=1, BLOCK=32)
    assert launches[0].tensors["x_ptr+out_ptr"].per_program == 256
    assert launches[0].total("out_ptr") == 256


def test_nothing_is_watched_after_the_block():
    with count_bytes() as launches:
        pass
    run(8, 1)
    assert launches == []
    with pytest.raises(ZeroDivisionError), count_bytes():
        1 / 0  # noqa: B018
    run(8, 1)

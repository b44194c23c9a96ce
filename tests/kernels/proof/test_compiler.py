"""The ahead-of-time compiler: what it reads from a binary, and that it catches a kernel made to spill."""

import pytest

from spikevrt_kernels.proof.compiler import compile_launch
from tests.toy_kernels import product, row_product

ARCHITECTURES = (80, 90, 120)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_kernel_that_fits_does_not_spill(architecture):
    resources = compile_launch(row_product(4, 128), architecture)
    assert not resources.spills
    assert 16 <= resources.registers <= 64
    assert resources.wide_loads == 4, "four rows of 128 floats for 32 threads: one wide load each"
    assert resources.tensor_core == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_kernel_made_to_spill_is_caught(architecture):
    resources = compile_launch(row_product(16, 1024), architecture)
    assert resources.spills
    assert resources.stack > 128
    assert resources.local_loads > 0
    assert resources.local_stores > 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tensor_cores_are_seen(architecture):
    resources = compile_launch(product(), architecture)
    assert resources.tensor_core > 0
    assert resources.shared > 0
    assert resources.warps == 4

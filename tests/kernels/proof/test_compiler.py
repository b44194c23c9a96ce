"""The ahead-of-time compiler: facts read from a binary, and a kernel that spills on purpose."""

import pytest
import torch

from spikevrt_kernels.proof.compiler import compile_launch
from spikevrt_kernels.registry import PLANS
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


def test_both_assemblers_of_the_wheel_take_sm_90():
    found = compile_launch(product(), 90)
    first, second = found.assembled
    assert first.version != second.version
    assert (found.registers, found.stack) in {one[1:] for one in found.assembled}
    # A spilling kernel is one for either.
    assert all(one.stack > 128 for one in compile_launch(row_product(16, 1024), 90).assembled)
    assert compile_launch(product(), 80).assembled == ()


@pytest.mark.parametrize(("kernel", "products", "from_registers"), [("forward", 10, 10), ("key_backward", 20, 20)])
def test_products_whose_first_operand_is_in_registers_are_counted(kernel, products, from_registers):
    """As they were counted by hand in window attention for sm_90.

    A product over 16 channels is one instruction, one over 64 tokens is four: q k^T and p v make 5, k q^T, v do^T, p do
    and ds q make 10, in each of two loops.
    """
    found = compile_launch(PLANS["window attention"](5, torch.bfloat16, 90)[kernel], 90)
    assert (found.tensor_core, found.register_operands) == (products, from_registers)

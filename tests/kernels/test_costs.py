"""No Triton operator is without its declared cost: a count of operators would miss its kernels."""

import pytest

from spikevrt_kernels.backends import TRITON_OPS
from spikevrt_kernels.costs import DECLARED


@pytest.mark.parametrize("op", TRITON_OPS)
def test_forward_and_backward_are_declared(op):
    assert {f"spikevrt::{op}", f"spikevrt::{op}_backward"} <= set(DECLARED)

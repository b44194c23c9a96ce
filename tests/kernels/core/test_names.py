"""Operator names that need no import of torch are those of the registry."""

from spikevrt_kernels.core.names import operator_names
from spikevrt_kernels.registry import OPERATORS


def test_operators_are_found_without_importing_them():
    assert operator_names() == tuple(sorted(OPERATORS))

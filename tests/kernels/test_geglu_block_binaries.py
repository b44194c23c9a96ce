"""The GEGLU kernels compiled ahead of time: spills, registers, shared memory and tensor cores within their targets."""

import pytest
import torch

from spikevrt_kernels.geglu_block.spec import geglu_launches
from spikevrt_kernels.proof import compiler
from spikevrt_kernels.proof.compiler import compile_launch

pytestmark = pytest.mark.binaries

MAX_SHARED = 72 * 1024
BACKWARD_STACK = 128
FORWARD = [
    *(("block", 96, architecture) for architecture in (80, 90, 120)),
    *(("block", C, architecture) for C, architecture in ((120, 80), (120, 120), (180, 90), (180, 120))),
    ("fuse", 120, 90),
    ("fuse", 120, 120),
]
BACKWARD = [
    ("block", 96, 90, "bwd_dx"),
    ("block", 120, 100, "bwd_dx"),
    ("block", 120, 120, "bwd_weights"),
    ("block", 144, 120, "bwd_dx"),
    ("fuse", 120, 80, "bwd_dx"),
    ("fuse", 96, 90, "bwd_weights"),
]
"""Where registers are fewest; the report on compiled kernels has the others."""


@pytest.fixture(autouse=True)
def one_assembler(monkeypatch):
    """The one that a machine would take; the report shows both."""
    monkeypatch.setattr(compiler, "assembled_by_all", lambda *_: ())


@pytest.mark.parametrize(("kind", "C", "architecture"), FORWARD)
def test_forward(kind, C, architecture):
    resources = compile_launch(launches(kind, C, architecture)["forward"], architecture)
    assert not resources.spills
    assert resources.shared <= MAX_SHARED
    assert resources.tensor_core > 0
    assert resources.wide_loads > 0, "rows of 120 channels, which are no multiple of 16, are loaded by 8 at a time too"


@pytest.mark.parametrize(("kind", "C", "architecture", "kernel"), BACKWARD)
def test_backward(kind, C, architecture, kernel):
    resources = compile_launch(launches(kind, C, architecture)[kernel], architecture)
    assert resources.stack <= (0 if architecture in (90, 100) else BACKWARD_STACK)
    assert resources.shared <= MAX_SHARED
    assert resources.tensor_core > 0


def launches(kind, C, architecture):
    """The launches at VRT's sizes: R = 2C in a block, 3C in the fusion."""
    return geglu_launches((1, 5, 256, 256, C), torch.bfloat16, architecture, kind == "fuse", 1 if kind == "fuse" else 2)

"""Every Triton operator declares its cost, and every launch satisfies Triton and its assembler."""

import subprocess
import sys
from itertools import product

import pytest
import torch
from triton.backends.compiler import GPUTarget

from spikevrt_kernels.proof.compile_all import ARCHITECTURES, DTYPES, FRAMES
from spikevrt_kernels.proof.compiler import build
from spikevrt_kernels.registry import DECLARED, OPERATORS, PLANS, TRITON_OPS
from spikevrt_kernels.temporal_block.spec import block_launches

BARRIERS = {  # architecture, kernel: what is read again after a barrier
    (80, "attend"): ("statistics",),
    (80, "mlp"): (),
    (90, "block"): ("statistics", "o"),
    (90, "block_inference"): ("statistics", "o", "out, which o passes through"),
    (90, "bwd_attend"): ("dq, dk, dv",),
}


@pytest.mark.parametrize(("operator", "architecture"), list(product(PLANS, ARCHITECTURES)))
def test_no_launch_lets_loads_of_one_tile_overtake_stores_of_another(operator, architecture):
    for frames, dtype in product(FRAMES, DTYPES):
        for launch in PLANS[operator](frames, dtype, architecture).values():
            assert launch.options["num_stages"] == 1


@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
@pytest.mark.parametrize(("architecture", "kernel"), BARRIERS)
def test_a_program_waits_before_it_reads_what_it_wrote(architecture, kernel, cross):
    launch = block_launches((2, 96, 5, 256, 256), torch.bfloat16, architecture, cross)[kernel]
    compiled, _ = build(launch, GPUTarget("cuda", architecture, 32), dict(launch.options))
    assert compiled.asm["ttir"].count("barrier") == len(BARRIERS[architecture, kernel])


def test_a_part_of_dq_waits_for_the_one_before():
    launch = PLANS["window attention"](5, torch.bfloat16, 90)["query_backward"]
    compiled, _ = build(launch, GPUTarget("cuda", 90, 32), dict(launch.options))
    assert compiled.asm["ttir"].count("barrier") == 2, "five tiles of keys, two at a time"


def test_the_windows_queries_wait_for_the_gradients_of_the_part_before():
    launch = PLANS["window attention"](5, torch.bfloat16, 90)["query_backward"]
    compiled, _ = build(launch, GPUTarget("cuda", 90, 32), dict(launch.options))
    parts = -(-launch.arguments["SPAN"] // (launch.arguments["PASSING"] * launch.arguments["PART"]))
    assert compiled.asm["ttir"].count("ttg.barrier") == parts - 1 == 2


@pytest.mark.parametrize("op", TRITON_OPS)
def test_forward_and_backward_are_declared(op):
    # A count of operators would miss the kernels of one that is not.
    assert {f"spikevrt::{op}", f"spikevrt::{op}_backward"} <= set(DECLARED)


@pytest.mark.parametrize("op", TRITON_OPS)
def test_a_triton_operator_has_cases_and_plans(op):
    # Reports compile plans; the self-test and the interpreter take the cases.
    operator = OPERATORS[op]
    assert operator.plans
    assert operator.odd
    assert operator.tiny


WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None  # importing it fails
import torch
from spikevrt_kernels.core.backends import why_not_triton
from spikevrt_kernels.core.case import pure
from spikevrt_kernels.registry import OPERATORS
for operator in OPERATORS.values():
    case = operator.tiny[0]
    types = pure(torch.float32 if operator.floating else torch.uint8)
    case.run(case.inputs(types, torch.device("cpu")), operator.backends[-1])
print(why_not_triton())
"""


def test_machines_without_triton_import_and_run_every_operator():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TRITON], capture_output=True, text=True, check=True)
    assert "the package triton is not installed" in done.stdout

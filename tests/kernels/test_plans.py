"""What every launch of every plan keeps to, since Triton or its assembler is known to be wrong without it."""

from itertools import product

import pytest
import torch
from triton.backends.compiler import GPUTarget

from spikevrt_kernels.plans import PLANS
from spikevrt_kernels.proof.compiler import build
from spikevrt_kernels.proof.matrix import ARCHITECTURES, DTYPES, FRAMES
from spikevrt_kernels.temporal_block.plan import block_launches

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
    compiled, _ = build(launch, GPUTarget("cuda", architecture, 32), dict(launch.options), False)
    assert compiled.asm["ttir"].count("barrier") == len(BARRIERS[architecture, kernel])

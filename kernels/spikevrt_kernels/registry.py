"""Every operator that has a kernel: an operator is added here, by one line."""

from spikevrt_kernels.core.operator import Declared, Operator, Plan
from spikevrt_kernels.deform_conv.spec import OPERATOR as DEFORM_CONV
from spikevrt_kernels.geglu_block.spec import OPERATOR as GEGLU_BLOCK
from spikevrt_kernels.linear_residual.spec import OPERATOR as LINEAR_RESIDUAL
from spikevrt_kernels.norm_linear.spec import OPERATOR as NORM_LINEAR
from spikevrt_kernels.temporal_attention.spec import OPERATOR as TEMPORAL_ATTENTION
from spikevrt_kernels.temporal_block.spec import OPERATOR as TEMPORAL_BLOCK
from spikevrt_kernels.voxelize.spec import OPERATOR as VOXELIZE
from spikevrt_kernels.warp_pairs.spec import OPERATOR as WARP_PAIRS
from spikevrt_kernels.window_attention.spec import OPERATOR as WINDOW_ATTENTION

OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        TEMPORAL_ATTENTION,
        TEMPORAL_BLOCK,
        WINDOW_ATTENTION,
        NORM_LINEAR,
        LINEAR_RESIDUAL,
        GEGLU_BLOCK,
        WARP_PAIRS,
        DEFORM_CONV,
        VOXELIZE,
    )
}
TRITON_OPS = tuple(name for name, operator in OPERATORS.items() if "triton" in operator.backends)
KERNEL_PREFIXES = (*TRITON_OPS, "weight_sums")
"""How names of kernels begin: as their operator's, or as that of a kernel that operators share."""
DECLARED: Declared = {name: cost for operator in OPERATORS.values() for name, cost in operator.declared.items()}
"""Functions that give the declared bytes of every registered operator."""
PLANS: dict[str, Plan] = {name: plan for operator in OPERATORS.values() for name, plan in operator.plans.items()}
"""All kernels as launches without tensors, which the report compiles."""

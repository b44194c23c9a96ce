"""What every Triton operator declares to move: for `count_operators`, which sees operators but not their kernels."""

from spikevrt_kernels.cost import Declared
from spikevrt_kernels.temporal_attention import cost as attention_cost
from spikevrt_kernels.temporal_block import cost as block_cost
from spikevrt_kernels.window_attention import cost as window_cost

DECLARED: Declared = {**attention_cost.DECLARED, **block_cost.DECLARED, **window_cost.DECLARED}

"""The pre-norm GEGLU block, and the GEGLU MLP that fuses a frame with its aligned neighbours."""

from spikevrt_kernels.geglu_block.op import geglu_block, geglu_fuse
from spikevrt_kernels.geglu_block.reference import GEGLUWeights

__all__ = ["GEGLUWeights", "geglu_block", "geglu_fuse"]

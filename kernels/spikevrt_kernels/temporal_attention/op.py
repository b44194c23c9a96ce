"""The public function: attention along time, with a backend argument."""

from torch import Tensor

from spikevrt_kernels.core.backends import planned_for_cuda, resolve_backend
from spikevrt_kernels.temporal_attention.cpu import temporal_attention_cpu
from spikevrt_kernels.temporal_attention.reference import temporal_attention_reference
from spikevrt_kernels.temporal_attention.sdpa import temporal_attention_sdpa
from spikevrt_kernels.temporal_attention.triton.registered import temporal_attention_fused


def temporal_attention_library(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float = 0.0) -> Tensor:
    """The `sdpa` backend: on the CPU the tiles of `cpu.py`, which are faster there; shapes as `temporal_attention`."""
    own = q.device.type == "cpu" and not planned_for_cuda()
    attend = temporal_attention_cpu if own else temporal_attention_sdpa
    return attend(q, k, v, heads, dropout_p)


ATTEND = {
    "triton": temporal_attention_fused,
    "sdpa": temporal_attention_library,
    "naive": temporal_attention_reference,
}


def temporal_attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float = 0.0, backend: str = "auto"
) -> Tensor:
    """Multi-head attention along T at every pixel: softmax(q k^T / sqrt(C/heads)) v (Vaswani et al. 2017).

    Args:
        q: (B,C,Tq,H,W) floating point, any strides.
        k: (B,C,Tk,H,W).
        v: (B,C,Tk,H,W).
        heads: divides C.
        dropout_p: dropout on the probabilities, in [0, 1).
        backend: auto, triton, sdpa or naive.

    Returns:
        (B,C,Tq,H,W), the type of q.

    Raises:
        BackendError: `backend` cannot run.
    """
    return ATTEND[resolve_backend(backend, "temporal_attention", q, k)](q, k, v, heads, dropout_p)

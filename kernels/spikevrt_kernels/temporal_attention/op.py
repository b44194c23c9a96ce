"""The public function: attention along time with any backend."""

from torch import Tensor

from spikevrt_kernels.core.backends import form_of, resolve_backend
from spikevrt_kernels.temporal_attention.cpu import temporal_attention_cpu
from spikevrt_kernels.temporal_attention.reference import temporal_attention_reference
from spikevrt_kernels.temporal_attention.sdpa import temporal_attention_sdpa
from spikevrt_kernels.temporal_attention.triton.registered import temporal_attention_fused

ATTEND = {
    "triton": temporal_attention_fused,
    "sdpa": temporal_attention_sdpa,
    "cpu": temporal_attention_cpu,
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
    chosen = resolve_backend(backend, "temporal_attention", q, k)
    return ATTEND[form_of(chosen, q)](q, k, v, heads, dropout_p)

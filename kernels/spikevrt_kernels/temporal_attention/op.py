"""The public function: attention along time with a backend argument."""

from torch import Tensor

from spikevrt_kernels.backends import resolve_backend
from spikevrt_kernels.temporal_attention.reference import temporal_attention_reference
from spikevrt_kernels.temporal_attention.sdpa import temporal_attention_sdpa


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
    attend = temporal_attention_sdpa if resolve_backend(backend) == "sdpa" else temporal_attention_reference
    return attend(q, k, v, heads, dropout_p)

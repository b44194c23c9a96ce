"""The public function: the input of the offset convolutions for all pairs of frames, with any backend."""

from torch import Tensor

from spikevrt_kernels.core.backends import resolve_backend
from spikevrt_kernels.warp_pairs.reference import warp_pairs_reference
from spikevrt_kernels.warp_pairs.triton.registered import warp_pairs_fused

BACKENDS = {"triton": warp_pairs_fused, "sdpa": warp_pairs_reference, "naive": warp_pairs_reference}


def warp_pairs(x: Tensor, flow: Tensor, backend: str = "auto") -> Tensor:
    """Put side by side, for each frame and each of its neighbours: the neighbour warped by the flow, frame and flow.

    Warping is `spikevrt_kernels.flow_warp.flow_warp`: values between pixels, 0 outside the image. Positions are
    computed in at least float32. A position that is not finite reads nothing, and its result is NaN or counts as
    outside.

    Pairs are in the order of `flow_guided_deform_conv`: direction 0 takes frame t+1 of clip b as neighbour and frame t
    as the frame, direction 1 the other way round. There are N = 2B(T-1) pairs.

    With `triton` the gradient of x is a scattered sum, added in fixed point with the same bits in every run; all of it
    is NaN where a gradient of the warped channels is not finite. SPIKEVRT_FLOAT_ATOMICS=1 adds in floating point, as
    for `flow_guided_deform_conv`.

    Args:
        x: (B,T,H,W,C) floating point, contiguous (`triton` copies what is not).
        flow: (N,2,H,W), (dx, dy) in pixels, best in float32.
        backend: auto, triton, sdpa or naive; sdpa has no form of its own and computes what naive does.

    Returns:
        (N,H,W,2C+2) contiguous in the type of x, to which the flow is rounded: warped neighbour, frame, (dx, dy).

    Raises:
        ValueError: shapes do not fit each other.
        BackendError: `backend` cannot run.
    """
    require_shapes(x, flow)
    return BACKENDS[resolve_backend(backend, "warp_pairs", x)](x, flow)


def require_shapes(x: Tensor, flow: Tensor) -> None:
    """Raise ValueError unless there are pairs, with a flow for each."""
    B, T, H, W, _ = x.shape
    if T < 2:
        raise ValueError(f"warp_pairs: clips of {T} frame have no neighbours; at least 2 are needed")
    N = 2 * B * (T - 1)
    if flow.shape != (N, 2, H, W):
        raise ValueError(f"warp_pairs: flow is {tuple(flow.shape)}, not ({N},2,{H},{W})")

"""The public function: neighbours aligned by a deformable convolution around an optical flow, with any backend."""

from torch import Tensor

from spikevrt_kernels.core.backends import BackendError, resolve_backend
from spikevrt_kernels.deform_conv.reference import TAPS, flow_guided_deform_conv_reference
from spikevrt_kernels.deform_conv.triton.registered import flow_guided_deform_conv_fused

MAX_GROUP_WIDTH = 64
"""The kernels hold all channels of a deformable group in registers, so its width is limited."""


def flow_guided_deform_conv(
    x: Tensor,
    predicted: Tensor,
    flow: Tensor,
    weight: Tensor,
    bias: Tensor,
    max_residue: float,
    backend: str = "auto",
    overwrite: bool = False,
) -> Tensor:
    """Align each frame's neighbours to it by a modulated deformable 3x3 convolution around an optical flow.

    A tap lies at its place in the 3x3 window + max_residue tanh(dy, dx) + flow; its value, between pixels and 0 outside
    the image, is multiplied by sigmoid(mask). Positions and masks are computed in at least float32. A position that is
    not finite reads nothing, and its result is NaN or counts as outside.

    Pair n = direction * B(T-1) + b * (T-1) + t: direction 0 takes frame t+1 of clip b and aligns it to frame t,
    direction 1 takes frame t and aligns it to frame t+1. There are N = 2B(T-1) pairs.

    With `triton` the gradient of x is a scattered sum. It is added in fixed point, with the same bits in every run;
    SPIKEVRT_FLOAT_ATOMICS=1 adds in floating point instead, in half the memory and in any order, unless
    `torch.use_deterministic_algorithms` forbids it. In fixed point all of x's gradient is NaN where a gradient of the
    output or a weight is not finite, or a mask is NaN.

    Args:
        x: (B,T,H,W,C) features.
        predicted: (N,H,W,27G) what a convolution says for each pair, in the order [9 taps][dy, dx, mask][G groups] (see
            `tap_major`), before tanh and sigmoid; G groups of C/G neighbouring channels, at most 64 for `triton`.
        flow: (N,2,H,W), (dx, dy) in pixels.
        weight: (Cout,C,3,3), taps row-major.
        bias: (Cout,).
        max_residue: largest distance between a tap and its place around the flow, in pixels.
        backend: auto, triton, sdpa or naive; sdpa has no form of its own and computes what naive does.
        overwrite: whether the backward of `triton` may write the gradient of `predicted` over it, where nothing else
            needs it. Then a second backward pass through the same graph raises.

    Returns:
        (2,B,T-1,H,W,Cout): direction, clip, t. In the product's type: autocast's, else that of x.

    Raises:
        ValueError: shapes do not fit each other.
        BackendError: `backend` cannot run.
    """
    check_shapes(x, predicted, flow, weight)
    chosen = resolve_backend(backend, "deform_conv", x, predicted)
    if chosen == "triton":
        check_width(x.shape[-1] // (predicted.shape[-1] // (3 * TAPS)))
        return flow_guided_deform_conv_fused(x, predicted, flow, weight, bias, max_residue, overwrite)
    return flow_guided_deform_conv_reference(x, predicted, flow, weight, bias, max_residue)


def check_shapes(x: Tensor, predicted: Tensor, flow: Tensor, weight: Tensor) -> None:
    """Raise ValueError unless pairs, groups and channels fit each other."""
    B, T, H, W, C = x.shape
    N, groups = 2 * B * (T - 1), predicted.shape[-1] // (3 * TAPS)
    if T < 2:
        raise ValueError(f"deform_conv: clips of {T} frame have no neighbours; at least 2 are needed")
    if predicted.shape != (N, H, W, 3 * TAPS * groups) or flow.shape != (N, 2, H, W):
        found = f"{tuple(predicted.shape)} and {tuple(flow.shape)}"
        raise ValueError(f"deform_conv: predicted and flow are {found}, not ({N},{H},{W},27G) and ({N},2,{H},{W})")
    if groups < 1 or C % groups:
        raise ValueError(f"deform_conv: {C} channels cannot be divided into {groups} groups")
    if weight.shape[1:] != (C, 3, 3):
        raise ValueError(f"deform_conv: weight is {tuple(weight.shape)}, not (Cout,{C},3,3)")


def check_width(width: int) -> None:
    """Raise BackendError where a group is too wide for the kernels."""
    if width > MAX_GROUP_WIDTH:
        raise BackendError(
            f"deform_conv: attention backend triton cannot run: groups of {width} channels are wider than "
            f"{MAX_GROUP_WIDTH}; use sdpa or more groups"
        )

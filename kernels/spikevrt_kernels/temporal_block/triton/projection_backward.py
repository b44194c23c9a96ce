"""Weight gradients of LN(x) W^T + b, in one pass over x and the gradient of the projection."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot, zero_vectors
from spikevrt_kernels.core.triton_tiles import store_sums, store_vector, zero_tiles
from spikevrt_kernels.temporal_block.triton.tiles import load_normed, load_tile


@triton.jit(do_not_specialize=["B"])
def temporal_block_bwd_project_kernel(
    x_ptr,  # (B,C,T,HW) by strides
    grad_ptr,  # (B,G*C,T,HW) contiguous, DOT
    sums_ptr,  # (programs,G*C*C+G*C) ACC: the sums of g xhat^T and of g
    stats_ptr,  # (2,B,T,HW) ACC
    stride_xb, stride_xc, stride_xt,
    HW, B, C,
    T: tl.constexpr, G: tl.constexpr, P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, CP: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum g xhat^T and g over pixels: the gradients of W and b without the factors gamma and beta.

    The norm's gradients follow from them: dgamma is the sum of W times dW over rows, and dbeta that of W times db.
    """
    in_frame = tl.cdiv(HW, P)
    x_c = tl.cast(HW, tl.int64) * T
    d_w, d_b = zero_tiles(G * NC, CK, CP, ACC), zero_vectors(G * NC, CK, ACC)  # G*NC of (CK,CP) and of (CK,)
    for tile in tl.range(tl.program_id(0), in_frame * T * B, tl.num_programs(0), disable_licm=True):
        at = (tile % in_frame) * P + tl.arange(0, P)  # (P,)
        inside = at < HW
        t, batch = tl.cast(tile // in_frame % T, tl.int64), tl.cast(tile // in_frame // T, tl.int64)
        grad = grad_ptr + batch * G * C * x_c + t * HW
        x = x_ptr + batch * stride_xb + t * stride_xt
        xhat, _ = load_normed(x, stride_xc, stats_ptr + (batch * T + t) * HW, B * x_c, C, at, inside, CP, ACC)
        xhat = xhat.to(DOT)  # (P,CP)
        new_w, new_b = (), ()
        for n in tl.static_range(G * NC):
            g = load_tile(grad, x_c, n // NC * C + n % NC * CK, (n // NC + 1) * C, at, inside, CK)  # (P,CK)
            new_w = new_w + (add_dot(d_w[n], tl.trans(g), xhat, DOT, ACC),)
            new_b = new_b + (d_b[n] + tl.sum(g.to(ACC), 0),)
        d_w, d_b = new_w, new_b
    sums = sums_ptr + tl.cast(tl.program_id(0), tl.int64) * (G * C * C + G * C)
    for n in tl.static_range(G * NC):
        first, end = n // NC * C + n % NC * CK, (n // NC + 1) * C
        store_sums(sums, d_w[n], first, end, 0, C, C, CK, CP)
        store_vector(sums + G * C * C, d_b[n], first, end, CK)

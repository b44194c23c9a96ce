"""What forward and backward share: the rows of the inputs, their layer norm, and the hidden channels before GELU.

The input z of both first layers is LN(x), x itself, or in `FUSE` x, later and earlier side by side: three maps of C
channels that stay where they are. LN(x) is in registers as NC chunks. The chunks of a fusion are too many for that, so
each is read where it is used; it comes from the cache.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.core.triton_tiles import chunk_stats, load_rows, load_vector, load_weight


@triton.jit
def places(row, inside, HW, T, half, FUSE: tl.constexpr):
    """Rows (P,) int64 of the inputs, and which exist: of x; in a fusion also of later and of earlier in `aligned`.

    Row (b,t,p) of x meets row (b,t,p) of aligned[0] and (b,t-1,p) of aligned[1], which hold T-1 frames a clip.
    """
    own = tl.cast(row, tl.int64)  # (P,)
    if FUSE:
        frame = row // HW  # (P,)
        t = frame % T
        later = own - frame // T * HW
        return (own, later, later + half - HW), (inside, inside & (t < T - 1), inside & (t > 0))
    else:
        return (own,), (inside,)


@triton.jit
def load_input(x_ptr, aligned_ptr, rows, exist, first, C, i: tl.constexpr, CK: tl.constexpr):
    """Channels first .. first+CK of input i as they are in memory: (P,CK)."""
    if i == 0:
        return load_rows(x_ptr, rows[0], exist[0], first, C, C, CK)
    else:
        return load_rows(aligned_ptr, rows[i], exist[i], first, C, C, CK)


@triton.jit
def normed_chunks(
    x_ptr,  # (M,C)
    gamma_ptr,  # (C,), or None without a norm
    beta_ptr,  # (C,)
    row, inside, C, eps,
    NC: tl.constexpr, CK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """LN(x) of rows (P,), or x without a norm: NC chunks (P,CK) in DOT; and mean and 1 / deviation (P,) if normed."""
    x = ()
    for j in tl.static_range(NC):
        x = x + (load_rows(x_ptr, row, inside, j * CK, C, C, CK).to(ACC),)
    mean, rstd = chunk_stats(x, C, eps, NC, CK, ACC)  # (P,), (P,)
    z = ()
    for j in tl.static_range(NC):
        if gamma_ptr is None:
            z = z + (x[j].to(DOT),)
        else:
            gamma, beta = load_vector(gamma_ptr, j * CK, C, CK, ACC), load_vector(beta_ptr, j * CK, C, CK, ACC)  # (CK,)
            z = z + (((x[j] - mean[:, None]) * rstd[:, None] * gamma[None, :] + beta[None, :]).to(DOT),)
    return z, mean, rstd


@triton.jit
def hidden_pair(
    z,  # NC of (P,CK) DOT, or () in a fusion
    x_ptr,  # (M,C)
    aligned_ptr,  # (2,B,T-1,HW,C), or None
    rows, exist,
    w11_ptr,  # (R,Cin)
    b11_ptr,  # (R,)
    w12_ptr,  # (R,Cin)
    b12_ptr,  # (R,)
    r, R, C,
    P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, RK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """z W11^T + b11 and z W12^T + b12 of the hidden channels r .. r+RK: two (P,RK) in ACC, zero beyond R."""
    a, b = tl.zeros((P, RK), ACC), tl.zeros((P, RK), ACC)  # (P,RK)
    if aligned_ptr is None:
        for j in tl.static_range(NC):
            w11 = load_weight(w11_ptr, r, R, j * CK, C, C, RK, CK)  # (RK,CK)
            w12 = load_weight(w12_ptr, r, R, j * CK, C, C, RK, CK)  # (RK,CK)
            a, b = add_dot(a, z[j], tl.trans(w11), DOT, ACC), add_dot(b, z[j], tl.trans(w12), DOT, ACC)
    else:
        for i in tl.static_range(3):
            for c in tl.range(0, C, CK, disable_licm=True):
                part = load_input(x_ptr, aligned_ptr, rows, exist, c, C, i, CK)  # (P,CK)
                w11 = load_weight(w11_ptr, r, R, i * C + c, (i + 1) * C, 3 * C, RK, CK)  # (RK,CK)
                w12 = load_weight(w12_ptr, r, R, i * C + c, (i + 1) * C, 3 * C, RK, CK)  # (RK,CK)
                a, b = add_dot(a, part, tl.trans(w11), DOT, ACC), add_dot(b, part, tl.trans(w12), DOT, ACC)
    a += load_vector(b11_ptr, r, R, RK, ACC)[None, :]
    b += load_vector(b12_ptr, r, R, RK, ACC)[None, :]
    return a, b


@triton.jit
def load_scale(scale_ptr, row, inside, per_sample, ACC: tl.constexpr):
    """The scale of the sample that each row belongs to: (P,)."""
    return tl.load(scale_ptr + row // per_sample, mask=inside, other=0.0).to(ACC)

"""Attention along time as Triton kernels: a thread owns one or two pixels of one head.

The T x T scores of a pixel stay in registers. There is no `tl.dot`: every pixel has its own scores, and a dot over
packed tokens would mostly compute products that are not needed. Trip counts over the head width are run-time values,
so that LLVM does not unroll the loops and run out of registers.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import zero_vectors


@triton.jit
def load_frames(row_ptr, stride_t, at, mask, T: tl.constexpr, ACC: tl.constexpr):
    """Load one channel of T frames at the pixels `at`: a tuple of T tiles (P,)."""
    rows = ()
    for t in tl.static_range(T):
        rows = rows + (tl.load(row_ptr + t * stride_t + at, mask=mask, other=0.0).to(ACC),)
    return rows


@triton.jit
def add_outer(sums, a, b, N: tl.constexpr, M: tl.constexpr):
    """sums[n,m] += a[n] * b[m], at every pixel."""
    new = ()
    for n in tl.static_range(N):
        for m in tl.static_range(M):
            new = new + (sums[n * M + m] + a[n] * b[m],)
    return new


@triton.jit
def softmax_frames(scores, scale, TQ: tl.constexpr, TK: tl.constexpr):
    """softmax over keys of scale * scores, for each of the TQ queries."""
    out = ()
    for i in tl.static_range(TQ):
        top = scores[i * TK] * scale
        for j in tl.static_range(1, TK):
            top = tl.maximum(top, scores[i * TK + j] * scale)
        row = ()
        total = tl.zeros_like(top)
        for j in tl.static_range(TK):
            row = row + (tl.exp(scores[i * TK + j] * scale - top),)
            total += row[j]
        for j in tl.static_range(TK):
            out = out + (row[j] / total,)
    return out


@triton.jit
def drop(a, b, seed, first, at, HW, dropout_p, N: tl.constexpr, ACC: tl.constexpr):
    """Apply the same dropout to two tuples of N scores: 0, or scaled by 1 / (1 - p).

    Philox gives four numbers per call, from the linear index (int64) of the pixel's next four scores.
    """
    new_a, new_b = (), ()
    scale = 1.0 / (1.0 - dropout_p)
    for group in tl.static_range(0, N, 4):
        uniform = tl.rand4x(seed, (first + group // 4) * HW + at)
        for i in tl.static_range(4):
            if group + i < N:
                keep = tl.where(uniform[i] >= dropout_p, 1.0, 0.0).to(ACC) * scale
                new_a = new_a + (a[group + i] * keep,)
                new_b = new_b + (b[group + i] * keep,)
    return new_a, new_b


@triton.jit
def temporal_attention_fwd_kernel(
    q_ptr,  # (B,heads*D,TQ,HW) by strides
    k_ptr,  # (B,heads*D,TK,HW)
    v_ptr,  # (B,heads*D,TK,HW)
    o_ptr,  # (B,heads*D,TQ,HW)
    seed_ptr,  # (1,) int64, or None without dropout
    stride_qb, stride_qc, stride_qt, stride_kb, stride_kc, stride_kt, stride_vb, stride_vc, stride_vt, stride_ob,
    stride_oc, stride_ot, HW, D, scale, dropout_p,
    TQ: tl.constexpr, TK: tl.constexpr, PIXELS: tl.constexpr, DROPOUT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute o = softmax(scale * q k^T) v for PIXELS pixels of one head."""
    at = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)  # (PIXELS,)
    head, b = tl.program_id(1), tl.program_id(2)
    mask = at < HW
    # Offsets are int64, because a batch of wide features can exceed 2^31 elements.
    batch, channel = tl.cast(b, tl.int64), tl.cast(head * D, tl.int64)
    q_row = q_ptr + batch * stride_qb + channel * stride_qc
    k_row = k_ptr + batch * stride_kb + channel * stride_kc
    v_row = v_ptr + batch * stride_vb + channel * stride_vc
    o_row = o_ptr + batch * stride_ob + channel * stride_oc
    q_t, k_t = tl.cast(stride_qt, tl.int64), tl.cast(stride_kt, tl.int64)
    v_t, o_t = tl.cast(stride_vt, tl.int64), tl.cast(stride_ot, tl.int64)

    scores = zero_vectors(TQ * TK, PIXELS, ACC)  # TQ*TK of (PIXELS,)
    for _ in range(D):
        q = load_frames(q_row, q_t, at, mask, TQ, ACC)  # TQ of (PIXELS,)
        k = load_frames(k_row, k_t, at, mask, TK, ACC)  # TK of (PIXELS,)
        scores = add_outer(scores, q, k, TQ, TK)
        q_row += stride_qc
        k_row += stride_kc
    p = softmax_frames(scores, scale, TQ, TK)  # TQ*TK of (PIXELS,)
    if DROPOUT:
        seed = tl.load(seed_ptr)
        first = (batch * tl.num_programs(1) + head) * ((TQ * TK + 3) // 4)
        p, _ = drop(p, p, seed, first, at, HW, dropout_p, TQ * TK, ACC)
    for _ in range(D):
        v = load_frames(v_row, v_t, at, mask, TK, ACC)  # TK of (PIXELS,)
        for i in tl.static_range(TQ):
            o = tl.zeros((PIXELS,), ACC)
            for j in tl.static_range(TK):
                o += p[i * TK + j] * v[j]
            tl.store(o_row + i * o_t + at, o.to(o_ptr.dtype.element_ty), mask=mask)
        v_row += stride_vc
        o_row += stride_oc


@triton.jit
def temporal_attention_bwd_kernel(
    q_ptr,  # (B,heads*D,TQ,HW) by strides
    k_ptr,  # (B,heads*D,TK,HW)
    v_ptr,  # (B,heads*D,TK,HW)
    do_ptr,  # (B,heads*D,TQ,HW)
    dq_ptr,  # (B,heads*D,TQ,HW) contiguous
    dk_ptr,  # (B,heads*D,TK,HW) contiguous
    dv_ptr,  # (B,heads*D,TK,HW) contiguous
    seed_ptr,  # (1,) int64, or None without dropout
    stride_qb, stride_qc, stride_qt, stride_kb, stride_kc, stride_kt, stride_vb, stride_vc, stride_vt, stride_db,
    stride_dc, stride_dt, HW, D, scale, dropout_p,
    TQ: tl.constexpr, TK: tl.constexpr, PIXELS: tl.constexpr, DROPOUT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute dq, dk, dv for PIXELS pixels of one head; the probabilities are recomputed."""
    at = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)  # (PIXELS,)
    head, b = tl.program_id(1), tl.program_id(2)
    mask = at < HW
    batch, channel = tl.cast(b, tl.int64), tl.cast(head * D, tl.int64)
    q_row = q_ptr + batch * stride_qb + channel * stride_qc
    k_row = k_ptr + batch * stride_kb + channel * stride_kc
    v_row = v_ptr + batch * stride_vb + channel * stride_vc
    d_row = do_ptr + batch * stride_db + channel * stride_dc
    q_t, k_t = tl.cast(stride_qt, tl.int64), tl.cast(stride_kt, tl.int64)
    v_t, d_t = tl.cast(stride_vt, tl.int64), tl.cast(stride_dt, tl.int64)

    scores, dp = zero_vectors(TQ * TK, PIXELS, ACC), zero_vectors(TQ * TK, PIXELS, ACC)  # each TQ*TK of (PIXELS,)
    for _ in range(D):
        q = load_frames(q_row, q_t, at, mask, TQ, ACC)  # TQ of (PIXELS,)
        k = load_frames(k_row, k_t, at, mask, TK, ACC)  # TK of (PIXELS,)
        scores = add_outer(scores, q, k, TQ, TK)
        do = load_frames(d_row, d_t, at, mask, TQ, ACC)  # TQ of (PIXELS,)
        v = load_frames(v_row, v_t, at, mask, TK, ACC)  # TK of (PIXELS,)
        dp = add_outer(dp, do, v, TQ, TK)
        q_row += stride_qc
        k_row += stride_kc
        v_row += stride_vc
        d_row += stride_dc
    p = softmax_frames(scores, scale, TQ, TK)  # TQ*TK of (PIXELS,)
    dropped, ds = p, ()
    if DROPOUT:
        seed = tl.load(seed_ptr)
        first = (batch * tl.num_programs(1) + head) * ((TQ * TK + 3) // 4)
        dropped, dp = drop(p, dp, seed, first, at, HW, dropout_p, TQ * TK, ACC)
    for i in tl.static_range(TQ):
        mean = tl.zeros((PIXELS,), ACC)
        for j in tl.static_range(TK):
            mean += p[i * TK + j] * dp[i * TK + j]
        for j in tl.static_range(TK):
            ds = ds + (p[i * TK + j] * (dp[i * TK + j] - mean) * scale,)

    heads_d = tl.num_programs(1) * D
    row = batch * heads_d + channel
    q_row -= tl.cast(D, tl.int64) * stride_qc
    k_row -= tl.cast(D, tl.int64) * stride_kc
    d_row -= tl.cast(D, tl.int64) * stride_dc
    dq_row = dq_ptr + row * TQ * HW
    dk_row = dk_ptr + row * TK * HW
    dv_row = dv_ptr + row * TK * HW
    for _ in range(D):
        k = load_frames(k_row, k_t, at, mask, TK, ACC)  # TK of (PIXELS,)
        for i in tl.static_range(TQ):
            dq = tl.zeros((PIXELS,), ACC)
            for j in tl.static_range(TK):
                dq += ds[i * TK + j] * k[j]
            tl.store(dq_row + tl.cast(HW, tl.int64) * i + at, dq.to(dq_ptr.dtype.element_ty), mask=mask)
        q = load_frames(q_row, q_t, at, mask, TQ, ACC)  # TQ of (PIXELS,)
        do = load_frames(d_row, d_t, at, mask, TQ, ACC)  # TQ of (PIXELS,)
        for j in tl.static_range(TK):
            dk = tl.zeros((PIXELS,), ACC)
            dv = tl.zeros((PIXELS,), ACC)
            for i in tl.static_range(TQ):
                dk += ds[i * TK + j] * q[i]
                dv += dropped[i * TK + j] * do[i]
            tl.store(dk_row + tl.cast(HW, tl.int64) * j + at, dk.to(dk_ptr.dtype.element_ty), mask=mask)
            tl.store(dv_row + tl.cast(HW, tl.int64) * j + at, dv.to(dv_ptr.dtype.element_ty), mask=mask)
        q_row += stride_qc
        k_row += stride_kc
        d_row += stride_dc
        dq_row += TQ * HW
        dk_row += TK * HW
        dv_row += TK * HW

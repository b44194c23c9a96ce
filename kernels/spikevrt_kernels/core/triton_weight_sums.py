"""Gradients of the weight and the bias of a linear layer: sums over rows, divided among programs."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot, zero_vectors
from spikevrt_kernels.core.triton_tiles import load_rows, store_sums, store_vector, zero_tiles


@triton.jit
def load_input(a_ptr, stats_ptr, row, inside, rows, first, K, SK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr):
    """Columns first .. first+SK of the layer's input, (P,SK) DOT: a, or (a - mean) rstd where there are statistics."""
    a = load_rows(a_ptr, row, inside, first, K, K, SK)  # (P,SK)
    if stats_ptr is not None:
        mean = tl.load(stats_ptr + row, mask=inside, other=0.0)  # (P,)
        rstd = tl.load(stats_ptr + rows + row, mask=inside, other=0.0)  # (P,)
        a = (a.to(ACC) - mean[:, None]) * rstd[:, None]
    return a.to(DOT)


@triton.jit(do_not_specialize=["rows", "of_sample"])
def weight_sums_kernel(
    a_ptr,  # (rows,K)
    grad_ptr,  # (rows,N)
    sums_ptr,  # (programs,N*K+N) ACC: the sums of grad^T a and of grad; without VECTOR (programs,N*K)
    stats_ptr,  # (2,rows) ACC: mean and rstd of the rows of a, or None
    scale_ptr,  # (rows/of_sample,): a factor of grad for each sample, or None
    rows, of_sample,
    K: tl.constexpr, N: tl.constexpr, VECTOR: tl.constexpr, P: tl.constexpr, SN: tl.constexpr, SK: tl.constexpr,
    NN: tl.constexpr, NK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Axis 0 of the grid divides the rows, axis 1 the sums: a program keeps NN x NK tiles (SN,SK) in registers."""
    parts = tl.cdiv(K, NK * SK)
    n_first, k_first = tl.program_id(1) // parts * NN * SN, tl.program_id(1) % parts * NK * SK
    sums, vectors = zero_tiles(NN * NK, SN, SK, ACC), zero_vectors(NN, SN, ACC)  # NN*NK of (SN,SK), NN of (SN,)
    for tile in tl.range(tl.program_id(0), tl.cdiv(rows, P), tl.num_programs(0), disable_licm=True):
        row = tl.cast(tile, tl.int64) * P + tl.arange(0, P)  # (P,)
        inside = row < rows
        a = ()  # NK of (P,SK)
        for k in tl.static_range(NK):
            a = a + (load_input(a_ptr, stats_ptr, row, inside, rows, k_first + k * SK, K, SK, DOT, ACC),)
        new, new_vectors = (), ()
        for n in tl.static_range(NN):
            grad = load_rows(grad_ptr, row, inside, n_first + n * SN, N, N, SN).to(ACC)  # (P,SN)
            if scale_ptr is not None:
                grad *= tl.load(scale_ptr + row // of_sample, mask=inside, other=0.0).to(ACC)[:, None]
            turned = tl.trans(grad.to(DOT))  # (SN,P)
            for k in tl.static_range(NK):
                new = new + (add_dot(sums[n * NK + k], turned, a[k], DOT, ACC),)
            if VECTOR:
                new_vectors = new_vectors + (vectors[n] + tl.sum(grad, 0),)
        sums = new
        if VECTOR:
            vectors = new_vectors
    own = sums_ptr + tl.cast(tl.program_id(0), tl.int64) * (N * K + (N if VECTOR else 0))
    for n in tl.static_range(NN):
        for k in tl.static_range(NK):
            store_sums(own, sums[n * NK + k], n_first + n * SN, N, k_first + k * SK, K, K, SN, SK)
        if VECTOR and k_first == 0:
            store_vector(own + N * K, vectors[n], n_first + n * SN, N, SN)

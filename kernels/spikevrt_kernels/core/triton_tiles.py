"""Tiles that Triton kernels share: rows of features, slices of weights, layer norm in registers, sums of gradients."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot


@triton.jit
def load_rows(ptr, row, inside, first, end, width, K: tl.constexpr):
    """Load columns first .. first+K (below end) of rows of `width`: (P,K), zero outside; `row` (P,) is int64."""
    c = first + tl.arange(0, K)  # (K,)
    pointers = ptr + row[:, None] * width + c[None, :]  # (P,K)
    return tl.load(pointers, mask=inside[:, None] & (c < end)[None, :], other=0.0)


@triton.jit
def store_rows(ptr, row, inside, first, end, width, tile, K: tl.constexpr):
    """The inverse of `load_rows`; converts to the type of the pointer."""
    c = first + tl.arange(0, K)  # (K,)
    pointers = ptr + row[:, None] * width + c[None, :]  # (P,K)
    tl.store(pointers, tile.to(ptr.dtype.element_ty), mask=inside[:, None] & (c < end)[None, :])


@triton.jit
def load_chunks(ptr, row, inside, width, NC: tl.constexpr, CK: tl.constexpr, TYPE: tl.constexpr):
    """Load whole rows of `width` in TYPE: NC chunks (P,CK), zero outside; `row` (P,) is int64."""
    chunks = ()
    for j in tl.static_range(NC):
        chunks = chunks + (load_rows(ptr, row, inside, j * CK, width, width, CK).to(TYPE),)
    return chunks


@triton.jit
def load_weight(w_ptr, row, row_end, column, column_end, width, N: tl.constexpr, K: tl.constexpr):
    """Load w[row .. row+N, column .. column+K] of a matrix with rows of `width`: (N,K), zero beyond the ends."""
    n, k = row + tl.arange(0, N), column + tl.arange(0, K)  # (N,), (K,)
    mask = (n < row_end)[:, None] & (k < column_end)[None, :]  # (N,K)
    return tl.load(w_ptr + n[:, None] * width + k[None, :], mask=mask, other=0.0)


@triton.jit
def load_vector(v_ptr, first, end, K: tl.constexpr, ACC: tl.constexpr):
    """Load v[first .. first+K] (below end) in ACC: (K,)."""
    k = first + tl.arange(0, K)
    return tl.load(v_ptr + k, mask=k < end, other=0.0).to(ACC)


@triton.jit
def norm_backward(grad, normed, rstd, C):
    """Gradient of x through normed = (x - mean(x)) rstd, of whole tiles: rstd (g - mean(g) - normed mean(g normed))."""
    first, second = tl.sum(grad, 1) / C, tl.sum(grad * normed, 1) / C
    return (grad - first[:, None] - normed * second[:, None]) * rstd[:, None]


@triton.jit
def zero_tiles(COUNT: tl.constexpr, N: tl.constexpr, K: tl.constexpr, ACC: tl.constexpr):
    """A tuple of COUNT zero tiles (N,K)."""
    tiles = ()
    for _ in tl.static_range(COUNT):
        tiles = tiles + (tl.zeros((N, K), ACC),)
    return tiles


@triton.jit
def chunk_stats(chunks, C, eps, NC: tl.constexpr, CK: tl.constexpr, ACC: tl.constexpr):
    """Mean and 1 / sqrt(variance + eps) of NC chunks that are in registers."""
    total = tl.sum(chunks[0], 1)  # (P,)
    for j in tl.static_range(1, NC):
        total += tl.sum(chunks[j], 1)
    mean = total / C
    square = tl.zeros_like(mean)
    for j in tl.static_range(NC):
        centred = tl.where((j * CK + tl.arange(0, CK) < C)[None, :], chunks[j] - mean[:, None], 0.0)  # (P,CK)
        square += tl.sum(centred * centred, 1)
    return mean, 1.0 / tl.sqrt(square / C + eps)


@triton.jit
def tile_stats(tile, C, eps, CP: tl.constexpr):
    """Mean and 1 / sqrt(variance + eps) of a tile that holds all C channels, and zeros beyond them."""
    mean = tl.sum(tile, 1) / C  # (P,)
    centred = tl.where((tl.arange(0, CP) < C)[None, :], tile - mean[:, None], 0.0)  # (P,CP)
    return mean, 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / C + eps)


@triton.jit
def row_stats(ptr, row, inside, C, c_end, eps, P: tl.constexpr, CK: tl.constexpr, ACC: tl.constexpr):
    """Mean and 1 / sqrt(variance + eps) of rows that are too wide for registers: they are read twice.

    `c_end` is C, as a number where C is a constant, which LLVM would unroll.
    """
    total = tl.zeros((P,), ACC)
    for c in tl.range(0, c_end, CK, disable_licm=True):
        total += tl.sum(load_rows(ptr, row, inside, c, C, C, CK).to(ACC), 1)  # (P,CK) -> (P,)
    mean = total / C
    square = tl.zeros((P,), ACC)
    for c in tl.range(0, c_end, CK, disable_licm=True):
        centred = load_rows(ptr, row, inside, c, C, C, CK).to(ACC) - mean[:, None]  # (P,CK)
        centred = tl.where((c + tl.arange(0, CK) < C)[None, :], centred, 0.0)
        square += tl.sum(centred * centred, 1)
    return mean, 1.0 / tl.sqrt(square / C + eps)


@triton.jit
def norm_chunk(chunk, mean, rstd, gamma_ptr, beta_ptr, first, C, CK: tl.constexpr, ACC: tl.constexpr):
    """Layer norm of the channels first .. first+CK, (P,CK) in ACC."""
    gamma, beta = load_vector(gamma_ptr, first, C, CK, ACC), load_vector(beta_ptr, first, C, CK, ACC)  # (CK,)
    return (chunk - mean[:, None]) * rstd[:, None] * gamma[None, :] + beta[None, :]


@triton.jit
def norm_chunks(
    chunks,  # NC of (P,CK)
    mean,  # (P,)
    rstd,  # (P,)
    gamma_ptr,  # (C,)
    beta_ptr,  # (C,)
    C,
    NC: tl.constexpr, CK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Layer norm of chunks that are in registers; the result is in DOT."""
    out = ()
    for j in tl.static_range(NC):
        out = out + (norm_chunk(chunks[j], mean, rstd, gamma_ptr, beta_ptr, j * CK, C, CK, ACC).to(DOT),)
    return out


@triton.jit
def load_turned(
    w_ptr,  # (N,C), or (C,N) if TURNED
    n, N, c, C,
    TURNED: tl.constexpr, NK: tl.constexpr, CK: tl.constexpr,
):  # fmt: skip
    """Columns n .. n+NK and rows c .. c+CK of a matrix (C,N) that is in memory as it is, or transposed: (CK,NK)."""
    if TURNED:
        return load_weight(w_ptr, c, C, n, N, N, CK, NK)
    else:
        return tl.trans(load_weight(w_ptr, n, N, c, C, C, NK, CK))


@triton.jit
def chunks_dot(
    acc,  # (P,NK) ACC
    chunks,  # NC of (P,CK)
    w_ptr,  # (N,C), or (C,N) if TURNED
    n, N, C,
    TURNED: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, NK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """acc + chunks W^T for the outputs n .. n+NK: (P,NK)."""
    for j in tl.static_range(NC):
        acc = add_dot(acc, chunks[j], load_turned(w_ptr, n, N, j * CK, C, TURNED, NK, CK), DOT, ACC)
    return acc


@triton.jit
def gelu(x):
    """Exact GELU."""
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def gelu_slope(x):
    """Derivative of exact GELU."""
    return 0.5 * (1.0 + tl.erf(x * 0.7071067811865476)) + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)


@triton.jit
def store_sums(ptr, tile, row, row_end, column, column_end, width, N: tl.constexpr, K: tl.constexpr):
    """Write one accumulator (N,K) to its place in the gradient of a weight."""
    n, k = row + tl.arange(0, N), column + tl.arange(0, K)  # (N,), (K,)
    mask = (n < row_end)[:, None] & (k < column_end)[None, :]  # (N,K)
    tl.store(ptr + n[:, None] * width + k[None, :], tile, mask=mask)


@triton.jit
def store_vector(ptr, vector, first, end, K: tl.constexpr):
    """Write one accumulator (K,) to its place in the gradient of a bias."""
    k = first + tl.arange(0, K)
    tl.store(ptr + k, vector, mask=k < end)

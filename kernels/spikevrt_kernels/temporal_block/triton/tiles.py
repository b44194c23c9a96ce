"""What the block's kernels share: tiles of pixels of one frame, and their layer norm."""

import triton
import triton.language as tl


@triton.jit
def load_tile(frame_ptr, stride_c, first, end, at, inside, K: tl.constexpr):
    """Load channels first .. first+K (below end) of the pixels `at` of a frame: (P,K), zero outside."""
    c = first + tl.arange(0, K)  # (K,)
    pointers = frame_ptr + tl.cast(c, tl.int64)[None, :] * stride_c + at[:, None]  # (P,K)
    return tl.load(pointers, mask=inside[:, None] & (c < end)[None, :], other=0.0)


@triton.jit
def store_tile(frame_ptr, stride_c, first, end, at, inside, tile, K: tl.constexpr):
    """The inverse of `load_tile`; converts to the type of the pointer."""
    c = first + tl.arange(0, K)  # (K,)
    pointers = frame_ptr + tl.cast(c, tl.int64)[None, :] * stride_c + at[:, None]  # (P,K)
    tl.store(pointers, tile.to(frame_ptr.dtype.element_ty), mask=inside[:, None] & (c < end)[None, :])


@triton.jit
def frame_stats(frame_ptr, stride_c, C, at, inside, eps, P: tl.constexpr, CK: tl.constexpr, ACC: tl.constexpr):
    """Mean and 1 / sqrt(variance + eps) over channels: (P,), (P,); in two passes, to avoid cancellation."""
    total = tl.zeros((P,), ACC)
    for c in tl.range(0, C, CK, disable_licm=True):
        total += tl.sum(load_tile(frame_ptr, stride_c, c, C, at, inside, CK).to(ACC), 1)  # (P,CK) -> (P,)
    mean = total / C
    square = tl.zeros((P,), ACC)
    for c in tl.range(0, C, CK, disable_licm=True):
        centred = load_tile(frame_ptr, stride_c, c, C, at, inside, CK).to(ACC) - mean[:, None]  # (P,CK)
        centred = tl.where((c + tl.arange(0, CK) < C)[None, :], centred, 0.0)
        square += tl.sum(centred * centred, 1)
    return mean, 1.0 / tl.sqrt(square / C + eps)


@triton.jit
def load_normed(frame_ptr, stride_c, stats_ptr, plane, C, at, inside, CP: tl.constexpr, ACC: tl.constexpr):
    """(x - mean) rstd of all channels, from stored statistics: (P,CP), 0 beyond C and outside; also rstd (P,)."""
    mean = tl.load(stats_ptr + at, mask=inside, other=0.0)  # (P,)
    rstd = tl.load(stats_ptr + plane + at, mask=inside, other=0.0)  # (P,)
    x = load_tile(frame_ptr, stride_c, 0, C, at, inside, CP).to(ACC)  # (P,CP)
    return tl.where((tl.arange(0, CP) < C)[None, :], (x - mean[:, None]) * rstd[:, None], 0.0), rstd

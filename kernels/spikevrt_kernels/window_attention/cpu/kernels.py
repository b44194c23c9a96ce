"""CPU kernels for a batch of windows, forward and backward, built from the passes in `vector_passes.py`.

Each window is copied to memory that stays in the cache, and its offsets are added; the results are written to their
places in the map. The scores of one head and 16 queries stay in the first-level cache.

M tokens of the map, S windows, N tokens per window, of which n are queries and n are keys; F = 3C or 6C columns. A
"part" of a window is the attention from some of its tokens to others; see `Part` for the numbers in `parts`.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from spikevrt_kernels.core.numba_jit import compiled
from spikevrt_kernels.window_attention.cpu.vector_passes import (
    descend,
    differentiate,
    exponentiate,
    gather_lanes,
    row_width,
    score,
    weigh,
)
from spikevrt_kernels.window_attention.cpu.vectors import LANES

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class Part(NamedTuple):
    """The tokens and columns of a window that are queries, keys, values and results."""

    tokens: int
    """Number of queries, and of keys: n."""
    query: int
    """Place of the first query in the window."""
    key: int
    """Place of the first key."""
    result: int
    """Place of the token that receives the first query's result."""
    column: int
    """First of the 3C columns of q, k and v."""
    out_column: int
    """First of the C columns of the result."""
    bias_heads: int
    """Heads of the bias: all, or 1 if it is the same for all heads."""


@numba.njit(inline="always")
def blocks_of(tokens: int) -> int:
    """Number of blocks of 16 tokens."""
    return (tokens + LANES - 1) // LANES


@numba.njit
def read_window(x: Floats, rows: Places, out: Floats) -> None:
    """Set out (N,F) to the rows of x (M,F); a row index past the end is padding, which is 0."""
    for i in range(len(rows)):
        if rows[i] < len(x):
            out[i] = x[rows[i]]
        else:
            out[i] = 0


@numba.njit
def write_window(window: Floats, rows: Places, out: Floats) -> None:
    """The inverse of `read_window`; padding is dropped."""
    for i in range(len(rows)):
        if rows[i] < len(out):
            out[rows[i]] = window[i]


@numba.njit
def read_head(window: Floats, place: int, column: int, factor: np.float32, out: Floats) -> None:
    """Set out (n,E) to `factor` times the tokens from `place` on and the columns from `column` on."""
    n, E = out.shape
    for i in range(n):
        for e in range(E):
            out[i, e] = factor * window[place + i, column + e]


@numba.njit
def to_lanes(x: Floats, out: Floats) -> None:
    """Convert (n,E) to flat (blocks,E,16)."""
    n, E = x.shape
    for block in range(blocks_of(n)):
        first = block * LANES
        for e in range(E):
            at = (block * E + e) * LANES
            for i in range(min(LANES, n - first)):
                out[at + i] = x[first + i, e]


@numba.njit
def to_vectors(x: Floats, padded: int, out: Floats) -> None:
    """Convert (n,E) to flat (n,P), P = `padded`."""
    n, E = x.shape
    for i in range(n):
        for e in range(E):
            out[i * padded + e] = x[i, e]


@numba.njit
def write_head(x: Floats, padded: int, window: Floats, place: int, column: int, E: int) -> None:
    """Write flat (n,P) to the tokens of the window from `place` on and the columns from `column` on."""
    for i in range(len(x) // padded):
        for e in range(E):
            window[place + i, column + e] = x[i * padded + e]


@numba.njit
def write_block(x: Floats, factor: np.float32, window: Floats, place: int, count: int, column: int) -> None:
    """Write `factor` times flat (E,16) to `count` tokens of the window from `place` on, from `column` on."""
    for i in range(count):
        for e in range(len(x) // LANES):
            window[place + i, column + e] = factor * x[e * LANES + i]


@compiled()
def attend(
    x: Floats, offsets: Floats, rows: Places, parts: Places, bias: Floats, out: Floats, width: tuple[int, ...]
) -> None:
    """Compute the attention of every part of every window.

    Args:
        x: (M,F).
        offsets: (N,F), added to the tokens of every window.
        rows: (S,N) places in the map; M and above are padding.
        parts: one row per part, with the numbers of `Part`.
        bias: biases of the parts one after the other, flat (heads or 1,blocks,n,16), as `in_lanes` returns them.
        out: (M,C or 2C), written.
        width: E zeros.
    """
    E, (N, F) = len(width), offsets.shape
    C, most, scale = (F // 3 if len(parts) == 1 else F // 6), parts[0, 0], np.float32(E**-0.5)
    window, result = np.empty((N, F), np.float32), np.empty((N, out.shape[1]), np.float32)
    lanes, s = np.zeros(blocks_of(most) * E * LANES, np.float32), np.empty(most * LANES, np.float32)
    high, inverse, o = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(E * LANES, np.float32)
    for index in range(len(rows)):
        read_window(x, rows[index], window)
        window += offsets
        part_at = 0
        for p in range(len(parts)):
            n, query, key, place, first_column, out_column, bias_heads = parts[p]
            blocks = blocks_of(n)
            q, k, v = np.empty((n, E), np.float32), np.empty((n, E), np.float32), np.empty((n, E), np.float32)
            for head in range(C // E):
                column = first_column + head * E
                read_head(window, query, column, scale, q)
                read_head(window, key, column + C, np.float32(1), k)
                read_head(window, key, column + 2 * C, np.float32(1), v)
                to_lanes(q, lanes)
                for block in range(blocks):
                    bias_at = part_at + (head % bias_heads * blocks + block) * n * LANES
                    score(lanes, block * E * LANES, k.reshape(n * E), bias, bias_at, s, high, n, width)  # type: ignore[call-arg]
                    exponentiate(s, high, inverse, n)
                    weigh(s, v.reshape(n * E), inverse, o, n, width)
                    first = block * LANES
                    write_block(o, np.float32(1), result, place + first, min(LANES, n - first), out_column + head * E)
            part_at += bias_heads * blocks * n * LANES
        write_window(result, rows[index], out)


@compiled()
def attend_backward(
    grad: Floats,
    x: Floats,
    offsets: Floats,
    rows: Places,
    parts: Places,
    bias: Floats,
    d_x: Floats,
    d_offsets: Floats,
    d_bias: Floats,
    width: tuple[int, ...],
) -> None:
    """Compute the gradients of `attend`. The other arguments are the same.

    Args:
        grad: (M,C or 2C), gradient of `out`.
        d_x: (M,F), written.
        d_offsets: (N,F); the gradient is added to it.
        d_bias: flat, like `bias` but with all heads in every part; the gradient is added to it.
    """
    E, (N, F) = len(width), offsets.shape
    C, most, scale = (F // 3 if len(parts) == 1 else F // 6), parts[0, 0], np.float32(E**-0.5)
    P = row_width(E)
    window, d_window = np.empty((N, F), np.float32), np.empty((N, F), np.float32)
    result = np.empty((N, grad.shape[1]), np.float32)
    q_lanes, g_lanes = (
        np.zeros(blocks_of(most) * E * LANES, np.float32),
        np.zeros(blocks_of(most) * E * LANES, np.float32),
    )
    s, t, o = np.empty(most * LANES, np.float32), np.empty(most * LANES, np.float32), np.empty(E * LANES, np.float32)
    high, inverse, delta = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for index in range(len(rows)):
        read_window(x, rows[index], window)
        window += offsets
        read_window(grad, rows[index], result)
        part_at, d_part_at = 0, 0
        for p in range(len(parts)):
            n, query, key, place, first_column, out_column, bias_heads = parts[p]
            blocks = blocks_of(n)
            q, k = np.empty((n, E), np.float32), np.empty((n, E), np.float32)
            v, g = np.empty((n, E), np.float32), np.empty((n, E), np.float32)
            q_rows, g_rows = np.zeros(blocks * LANES * P, np.float32), np.zeros(blocks * LANES * P, np.float32)
            # Lanes after the last query must not hold gradients of another part.
            g_lanes[:] = 0
            for head in range(C // E):
                column = first_column + head * E
                read_head(window, query, column, scale, q)
                read_head(window, key, column + C, np.float32(1), k)
                read_head(window, key, column + 2 * C, np.float32(1), v)
                read_head(result, place, out_column + head * E, np.float32(1), g)
                to_lanes(q, q_lanes)
                to_lanes(g, g_lanes)
                to_vectors(q, P, q_rows)
                to_vectors(g, P, g_rows)
                d_k, d_v = np.zeros(n * P, np.float32), np.zeros(n * P, np.float32)
                keys, values = k.reshape(n * E), v.reshape(n * E)
                for block in range(blocks):
                    lanes_at, rows_at, first = block * E * LANES, block * LANES * P, block * LANES
                    bias_at = part_at + (head % bias_heads * blocks + block) * n * LANES
                    d_bias_at = d_part_at + (head * blocks + block) * n * LANES
                    score(q_lanes, lanes_at, keys, bias, bias_at, s, high, n, width)  # type: ignore[call-arg]
                    exponentiate(s, high, inverse, n)
                    differentiate(s, inverse, values, g_lanes, lanes_at, t, delta, n, width)
                    descend(s, t, delta, keys, d_bias, d_bias_at, o, n, width)
                    gather_lanes(t, q_rows, rows_at, d_k, n, width)
                    gather_lanes(s, g_rows, rows_at, d_v, n, width)
                    write_block(o, scale, d_window, query + first, min(LANES, n - first), column)
                write_head(d_k, P, d_window, key, column + C, E)
                write_head(d_v, P, d_window, key, column + 2 * C, E)
            part_at += bias_heads * blocks * n * LANES
            d_part_at += C // E * blocks * n * LANES
        d_offsets += d_window
        write_window(d_window, rows[index], d_x)

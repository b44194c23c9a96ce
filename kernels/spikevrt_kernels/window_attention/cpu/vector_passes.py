"""Passes of window attention over a block of 16 queries, one query per lane, written as LLVM vector code.

Softmax is then arithmetic between vectors, and the multiply-adds read keys and values from memory as scalars. N keys, E
is the head's width (the length of the tuple `width`, so it is known when a pass is compiled). Blocks are (N,16) or
(E,16), keys and values (N,E), all C-contiguous float32; arguments named `..._at` are indices of first elements.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from spikevrt_kernels.window_attention.cpu.vectors import INT64, LANES, NARROW, Pass, constant


def columns_of(p: Pass, block: Any, width: int) -> list[Callable[[], Any]]:
    """Functions that load the columns of a block (E,16)."""
    return [partial(p.load, block, LANES * e) for e in range(width)]


@numba.njit(inline="always")
def row_width(E: int) -> int:
    """E, rounded up so that vectors of 16, 8 and 4 floats fill a row."""
    rest = E % LANES
    return E - rest + (rest if rest == 0 else 4 if rest <= 4 else 8 if rest <= 8 else LANES)


def width_of(signature: Any) -> int:
    """The head's width E, from the type of the argument `width`."""
    return signature.args[-1].count


@intrinsic
def score(
    typing_context: Any, q: Any, q_at: Any, k: Any, bias: Any, bias_at: Any, s: Any, high: Any, N: Any, width: Any
) -> Any:
    """s_j = bias_j + sum_e k_je q_e; `high` (16,) is set to their maximum."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        p, E = Pass(context, builder, signature, arguments), width_of(signature)
        q, k, bias, s, high = (
            p.pointer(0, arguments[1]),
            p.pointer(2),
            p.pointer(3, arguments[4]),
            p.pointer(5),
            p.pointer(6),
        )
        (highest,) = p.variables(1)
        builder.store(constant(-math.inf), highest)

        def some(first: Any, count: int) -> None:
            totals = p.products(k, E, first, count, columns_of(p, q, E))
            for r, total in enumerate(totals):
                at = p.row(first, r, LANES)
                totals[r] = builder.fadd(total, p.load(bias, at))
                p.store(totals[r], s, at)
            builder.store(p.largest([*totals, builder.load(highest)]), highest)

        p.tiles(arguments[7], some)
        p.store(builder.load(highest), high, 0)
        return context.get_dummy_value()

    return types.void(q, types.intp, k, bias, types.intp, s, high, types.intp, width), generate


@intrinsic
def exponentiate(typing_context: Any, s: Any, high: Any, inverse: Any, N: Any) -> Any:
    """s_j <- exp(s_j - high); `inverse` (16,) is set to 1 / their sum."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        p = Pass(context, builder, signature, arguments)
        s, highest = p.pointer(0), p.load(p.pointer(1), 0)
        inverse = p.pointer(2)
        for key in p.sums(inverse, 1, arguments[3]):
            at = p.times(key, LANES)
            value = p.exponential(builder.fsub(p.load(s, at), highest))
            p.store(value, s, at)
            p.add(p.partial[0], value)
        p.store(builder.fdiv(constant(1), p.load(inverse, 0)), inverse, 0)
        return context.get_dummy_value()

    return types.void(s, high, inverse, types.intp), generate


@intrinsic
def weigh(typing_context: Any, s: Any, v: Any, inverse: Any, out: Any, N: Any, width: Any) -> Any:
    """out_e = inverse sum_j s_j v_je."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        p, E = Pass(context, builder, signature, arguments), width_of(signature)
        s, v, out, factor = p.pointer(0), p.pointer(1), p.pointer(3), p.load(p.pointer(2), 0)
        p.weighted(s, v, out, arguments[4], E)
        for e in range(E):
            p.store(builder.fmul(p.load(out, LANES * e), factor), out, LANES * e)
        return context.get_dummy_value()

    return types.void(s, v, inverse, out, types.intp, width), generate


@intrinsic
def differentiate(
    typing_context: Any, s: Any, inverse: Any, v: Any, grad: Any, grad_at: Any, t: Any, delta: Any, N: Any, width: Any
) -> Any:
    """s_j <- s_j inverse = p_j; t_j = sum_e v_je grad_e = dp_j; `delta` (16,) is set to sum_j p_j dp_j."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        p, E = Pass(context, builder, signature, arguments), width_of(signature)
        s, v, grad, t = p.pointer(0), p.pointer(2), p.pointer(3, arguments[4]), p.pointer(5)
        factor = p.load(p.pointer(1), 0)

        def some(first: Any, count: int) -> None:
            for r, total in enumerate(p.products(v, E, first, count, columns_of(p, grad, E))):
                p.store(total, t, p.row(first, r, LANES))

        p.tiles(arguments[7], some)
        for key in p.sums(p.pointer(6), 1, arguments[7]):
            at = p.times(key, LANES)
            value = builder.fmul(p.load(s, at), factor)
            p.store(value, s, at)
            p.add_product(p.partial[0], value, p.load(t, at))
        return context.get_dummy_value()

    return types.void(s, inverse, v, grad, types.intp, t, delta, types.intp, width), generate


@intrinsic
def descend(
    typing_context: Any, s: Any, t: Any, delta: Any, k: Any, d_bias: Any, d_bias_at: Any, d_q: Any, N: Any, width: Any
) -> Any:
    """t_j <- s_j (t_j - delta) = ds_j; d_bias_j += ds_j; d_q_e = sum_j ds_j k_je."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        p, E = Pass(context, builder, signature, arguments), width_of(signature)
        s, t, k, d_bias, d_q = p.pointer(0), p.pointer(1), p.pointer(3), p.pointer(4, arguments[5]), p.pointer(6)
        delta = p.load(p.pointer(2), 0)
        with cgutils.for_range(builder, arguments[7], intp=INT64) as loop:
            at = p.times(loop.index, LANES)
            value = builder.fmul(p.load(s, at), builder.fsub(p.load(t, at), delta))
            p.store(value, t, at)
            p.store(builder.fadd(p.load(d_bias, at), value), d_bias, at)
        p.weighted(t, k, d_q, arguments[7], E)
        return context.get_dummy_value()

    return types.void(s, t, delta, k, d_bias, types.intp, d_q, types.intp, width), generate


@intrinsic
def gather_lanes(typing_context: Any, s: Any, rows: Any, rows_at: Any, out: Any, N: Any, width: Any) -> Any:
    """out_j += sum_i s_ji rows_i over the 16 lanes i; rows (16,P), out (N,P), P = `row_width` of E."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        p, P = Pass(context, builder, signature, arguments), row_width.py_func(width_of(signature))
        s, rows, out = p.pointer(0), p.pointer(1, arguments[2]), p.pointer(3)
        column = 0
        while column < P:
            lanes = next(n for n in (LANES, *NARROW) if n <= P - column)
            lines = [partial(p.load, rows, i * P + column, lanes) for i in range(LANES)]

            def some(first: Any, count: int, column: int = column, lines: Sequence[Any] = lines) -> None:
                for r, total in enumerate(p.products(s, LANES, first, count, lines)):
                    at = builder.add(p.row(first, r, P), ir.Constant(INT64, column))
                    p.store(builder.fadd(total, p.load(out, at, total.type.count)), out, at)

            p.tiles(arguments[4], some)
            column += lanes
        return context.get_dummy_value()

    return types.void(s, rows, types.intp, out, types.intp, width), generate

"""Passes of window attention over a block of 16 queries, one query per lane, written as LLVM vector code.

Softmax is then arithmetic between vectors, and the multiply-adds read keys and values from memory as scalars. N keys, E
is the head's width (the length of the tuple `width`, so it is known when a pass is compiled). Blocks are (N,16) or
(E,16), keys and values (N,E), all C-contiguous float32; arguments named `..._at` are indices of first elements.
"""

import math
from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
INT32, INT64, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
VECTOR, INTEGERS = ir.VectorType(FLOAT, LANES), ir.VectorType(INT32, LANES)
FEW = 32
"""Number of terms that are summed one after the other."""
FUSED = ("contract",)
LOWEST = -87.0
"""exp of anything lower is negligible compared with exp(0) = 1."""
MANTISSA_BITS, EXPONENT_BIAS = 23, 127
ROUND = 1.5 * 2**MANTISSA_BITS
"""Adding this to a number leaves the number, rounded to an integer, in the low bits."""
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
"""ln 2 in two parts; the first has so few bits that its multiples are exact (Cody and Waite 1980)."""
TAYLOR = [1 / math.factorial(n) for n in range(7, -1, -1)]
"""Taylor coefficients of exp; for |x| <= ln(2) / 2 the omitted terms are below 2^-27."""


class Pass:
    """Generates one pass: pointers to its arrays, loads, stores and arithmetic on vectors."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.context = context
        self.builder = builder
        self.types = signature.args
        self.arguments = arguments
        self.partial: list[Any] = []

    def pointer(self, argument: int, offset: Any = None) -> Any:
        """Pointer to the start of an array argument, or to its element `offset`."""
        data = self.context.make_array(self.types[argument])(self.context, self.builder, self.arguments[argument]).data
        return data if offset is None else self.builder.gep(data, [offset])

    def at(self, pointer: Any, index: Any) -> Any:
        """Pointer to element `index`, which is a number or an LLVM value."""
        index = ir.Constant(INT64, index) if isinstance(index, int) else index
        return self.builder.gep(pointer, [index])

    def load(self, pointer: Any, index: Any) -> Any:
        """Load 16 floats from element `index` on."""
        return self.builder.load(self.builder.bitcast(self.at(pointer, index), VECTOR.as_pointer()), align=4)

    def store(self, value: Any, pointer: Any, index: Any) -> None:
        """Store 16 floats from element `index` on."""
        self.builder.store(value, self.builder.bitcast(self.at(pointer, index), VECTOR.as_pointer()), align=4)

    def scalar(self, pointer: Any, index: Any) -> Any:
        """Load one float into all lanes."""
        value = self.builder.load(self.at(pointer, index))
        one = self.builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, ir.Constant(INT32, 0))
        return self.builder.shuffle_vector(one, one, ir.Constant(INTEGERS, [0] * LANES))

    def times(self, index: Any, factor: int) -> Any:
        """index * factor."""
        return self.builder.mul(index, ir.Constant(INT64, factor))

    def fused(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, which LLVM may compute in one instruction."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=FUSED), c, flags=FUSED)

    def variables(self, count: int) -> list[Any]:
        """Vectors of zeros that a loop may change."""
        found = [cgutils.alloca_once(self.builder, VECTOR) for _ in range(count)]
        for slot in found:
            self.builder.store(constant(0), slot)
        return found

    def add(self, slot: Any, value: Any) -> None:
        """slot += value."""
        self.builder.store(self.builder.fadd(self.builder.load(slot), value), slot)

    def add_product(self, slot: Any, a: Any, b: Any) -> None:
        """slot += a b."""
        self.builder.store(self.fused(a, b, self.builder.load(slot)), slot)

    def sums(self, out: Any, count: int, keys: Any) -> Iterator[Any]:
        """Loop over keys whose body adds to the yielded slots; `out` (count,16) receives their sums over all keys.

        Sums of a few keys are added up, because adding hundreds of terms one after the other would lose digits.
        """
        b, few = self.builder, ir.Constant(INT64, FEW)
        self.partial = self.variables(count)
        for i in range(count):
            self.store(constant(0), out, LANES * i)
        runs = b.sdiv(b.add(keys, ir.Constant(INT64, FEW - 1)), few)
        with cgutils.for_range(b, runs, intp=INT64) as outer:
            for slot in self.partial:
                b.store(constant(0), slot)
            first = b.mul(outer.index, few)
            left = b.sub(keys, first)
            with cgutils.for_range(b, b.select(b.icmp_signed("<", left, few), left, few), intp=INT64) as inner:
                yield b.add(first, inner.index)
            for i, slot in enumerate(self.partial):
                self.store(b.fadd(b.load(slot), self.load(out, LANES * i)), out, LANES * i)

    def exponential(self, x: Any) -> Any:
        """exp of x <= 0: 2^n times a Taylor polynomial of the remainder."""
        b = self.builder
        x = b.select(b.fcmp_ordered("<", x, constant(LOWEST)), constant(LOWEST), x)
        shifted = self.fused(x, constant(1 / math.log(2)), constant(ROUND))
        n = b.fsub(shifted, constant(ROUND))
        x = self.fused(n, constant(-LN2_LOW), self.fused(n, constant(-LN2_HIGH), x))
        y = constant(TAYLOR[0])
        for coefficient in TAYLOR[1:]:
            y = self.fused(y, x, constant(coefficient))
        # The low bits of `shifted` are n; moved into the exponent of 1, they give 2^n.
        bits = b.shl(b.bitcast(shifted, INTEGERS), ir.Constant(INTEGERS, [MANTISSA_BITS] * LANES))
        power = b.add(bits, ir.Constant(INTEGERS, [EXPONENT_BIAS << MANTISSA_BITS] * LANES))
        return b.fmul(y, b.bitcast(power, VECTOR))


def constant(value: float) -> Any:
    """A number in all lanes."""
    return ir.Constant(VECTOR, [value] * LANES)


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
        columns = [p.load(q, LANES * e) for e in range(E)]
        (highest,) = p.variables(1)
        builder.store(constant(-math.inf), highest)
        with cgutils.for_range(builder, arguments[7], intp=INT64) as loop:
            key = p.at(k, p.times(loop.index, E))
            total = constant(0)
            for e, column in enumerate(columns):
                total = p.fused(p.scalar(key, e), column, total)
            total = builder.fadd(total, p.load(bias, p.times(loop.index, LANES)))
            p.store(total, s, p.times(loop.index, LANES))
            old = builder.load(highest)
            builder.store(builder.select(builder.fcmp_ordered(">", total, old), total, old), highest)
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
        for key in p.sums(out, E, arguments[4]):
            value, place = p.load(s, p.times(key, LANES)), p.at(v, p.times(key, E))
            for e, slot in enumerate(p.partial):
                p.add_product(slot, p.scalar(place, e), value)
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
        columns = [p.load(grad, LANES * e) for e in range(E)]
        for key in p.sums(p.pointer(6), 1, arguments[7]):
            at, place = p.times(key, LANES), p.at(v, p.times(key, E))
            total = constant(0)
            for e, column in enumerate(columns):
                total = p.fused(p.scalar(place, e), column, total)
            value = builder.fmul(p.load(s, at), factor)
            p.store(value, s, at)
            p.store(total, t, at)
            p.add_product(p.partial[0], value, total)
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
        for index in p.sums(d_q, E, arguments[7]):
            at, key = p.times(index, LANES), p.at(k, p.times(index, E))
            value = builder.fmul(p.load(s, at), builder.fsub(p.load(t, at), delta))
            p.store(value, t, at)
            p.store(builder.fadd(p.load(d_bias, at), value), d_bias, at)
            for e, slot in enumerate(p.partial):
                p.add_product(slot, p.scalar(key, e), value)
        return context.get_dummy_value()

    return types.void(s, t, delta, k, d_bias, types.intp, d_q, types.intp, width), generate


@intrinsic
def gather_lanes(typing_context: Any, s: Any, rows: Any, rows_at: Any, out: Any, N: Any, width: Any) -> Any:
    """out_j += sum_i s_ji rows_i over the 16 lanes i; rows (16,P), out (N,P), P = E rounded up to whole vectors."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        p, E = Pass(context, builder, signature, arguments), width_of(signature)
        s, rows, out = p.pointer(0), p.pointer(1, arguments[2]), p.pointer(3)
        P = -(-E // LANES) * LANES
        for first in range(0, P, LANES):
            lines = [p.load(rows, i * P + first) for i in range(LANES)]
            with cgutils.for_range(builder, arguments[4], intp=INT64) as loop:
                scores = p.at(s, p.times(loop.index, LANES))
                at = builder.add(p.times(loop.index, P), ir.Constant(INT64, first))
                total = constant(0)
                for i, line in enumerate(lines):
                    total = p.fused(p.scalar(scores, i), line, total)
                p.store(builder.fadd(total, p.load(out, at)), out, at)
        return context.get_dummy_value()

    return types.void(s, rows, types.intp, out, types.intp, width), generate

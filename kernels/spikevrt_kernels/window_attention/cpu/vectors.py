"""Vectors of 16 floats in LLVM code: how many stay in registers, and the loops that work on them.

A vector is one register with AVX-512, and two with AVX2 and FMA, which LLVM sees to. `held_vectors` is the only number
that differs: how many sums a loop keeps in registers.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from spikevrt_kernels.core.numba_jit import compiles_for

LANES = 16
INT32, INT64, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
VECTOR, INTEGERS = ir.VectorType(FLOAT, LANES), ir.VectorType(INT32, LANES)
NARROW = (8, 4)
"""Widths of the vectors that hold the last columns of a head."""
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


class Held(NamedTuple):
    """How many vectors of sums stay in registers at a time."""

    columns: int
    """Sums over keys, of so many columns; the other registers hold a key's weights and a number of its row."""
    keys: int
    """Sums over columns, of so many keys: enough that no multiply-add waits for the one before."""


def held_vectors() -> Held | None:
    """What fits the registers of the processor that Numba compiles for: 32 of 16 floats, or 16 of 8.

    None for a processor without fused multiply-adds of at least 8 floats.
    """
    if compiles_for("avx512f"):
        return Held(24, 8)
    return Held(6, 4) if compiles_for("avx2", "fma") else None


class Pass:
    """Generates one pass: pointers to its arrays, loads, stores and arithmetic on vectors."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.context = context
        self.builder = builder
        self.types = signature.args
        self.arguments = arguments
        self.partial: list[Any] = []
        held = held_vectors()
        assert held is not None
        self.held = held

    def pointer(self, argument: int, offset: Any = None) -> Any:
        """Pointer to the start of an array argument, or to its element `offset`."""
        data = self.context.make_array(self.types[argument])(self.context, self.builder, self.arguments[argument]).data
        return data if offset is None else self.builder.gep(data, [offset])

    def at(self, pointer: Any, index: Any) -> Any:
        """Pointer to element `index`, which is a number or an LLVM value."""
        index = ir.Constant(INT64, index) if isinstance(index, int) else index
        return self.builder.gep(pointer, [index])

    def load(self, pointer: Any, index: Any, lanes: int = LANES) -> Any:
        """Load `lanes` floats from element `index` on."""
        return self.builder.load(self.vector_at(pointer, index, lanes), align=4)

    def store(self, value: Any, pointer: Any, index: Any) -> None:
        """Store a vector from element `index` on."""
        self.builder.store(value, self.vector_at(pointer, index, value.type.count), align=4)

    def vector_at(self, pointer: Any, index: Any, lanes: int) -> Any:
        """Pointer to the vector that begins at element `index`."""
        return self.builder.bitcast(self.at(pointer, index), ir.VectorType(FLOAT, lanes).as_pointer())

    def scalar(self, pointer: Any, index: Any, lanes: int = LANES) -> Any:
        """Load one float into all lanes."""
        value = self.builder.load(self.at(pointer, index))
        none = ir.Constant(ir.VectorType(FLOAT, lanes), ir.Undefined)
        one = self.builder.insert_element(none, value, ir.Constant(INT32, 0))
        return self.builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes))

    def times(self, index: Any, factor: int) -> Any:
        """index * factor."""
        return self.builder.mul(index, ir.Constant(INT64, factor))

    def row(self, first: Any, r: int, width: int) -> Any:
        """Index of the first element of row first + r, for rows of `width` floats."""
        return self.times(self.builder.add(first, ir.Constant(INT64, r)), width)

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

    def tiles(self, keys: Any, body: Callable[[Any, int], None]) -> None:
        """Call body(first, count) for all keys, several at a time, then for each of those that are left over."""
        b, count = self.builder, self.held.keys
        whole = b.sdiv(keys, ir.Constant(INT64, count))
        with cgutils.for_range(b, whole, intp=INT64) as loop:
            body(self.times(loop.index, count), count)
        first = self.times(whole, count)
        with cgutils.for_range(b, b.sub(keys, first), intp=INT64) as loop:
            body(b.add(first, loop.index), 1)

    def products(self, rows: Any, stride: int, first: Any, count: int, vectors: Sequence[Any]) -> list[Any]:
        """sum_e rows_je vector_e of `count` rows j from `first` on, each of `stride` floats.

        `vectors` are functions that load a vector, so that it need not stay in a register.
        """
        places = [self.at(rows, self.row(first, r, stride)) for r in range(count)]
        totals: list[Any] = []
        for e, load in enumerate(vectors):
            vector = load()
            factors = [self.scalar(place, e, vector.type.count) for place in places]
            if totals:
                totals = [self.fused(f, vector, total) for f, total in zip(factors, totals, strict=True)]
            else:
                totals = [self.builder.fmul(f, vector) for f in factors]
        return totals

    def largest(self, values: Sequence[Any]) -> Any:
        """The largest of several vectors, lane by lane."""
        left = list(values)
        while len(left) > 1:
            a, b = left.pop(0), left.pop(0)
            left.append(self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b))
        return left[0]

    def weighted(self, weights: Any, rows: Any, out: Any, keys: Any, width: int) -> None:
        """out_e = sum_j weights_j rows_je, some columns e at a time."""
        passes = -(-width // self.held.columns)
        for i in range(passes):
            first, end = width * i // passes, width * (i + 1) // passes
            for key in self.sums(self.at(out, LANES * first), end - first, keys):
                value, place = self.load(weights, self.times(key, LANES)), self.at(rows, self.times(key, width))
                for e, slot in enumerate(self.partial, first):
                    self.add_product(slot, self.scalar(place, e), value)

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

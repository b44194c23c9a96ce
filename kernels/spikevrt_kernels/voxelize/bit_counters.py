"""Bit-sliced counters on vectors of 64-bit words, written as LLVM code, since no compiler makes it of plain loops.

A block is 256 pixels in four words; pixel x is bit x % 64 of word x / 64. Plane p of a counter holds bit p of the
counts of a block. `planes` arrays hold one plane after the other, (P * 4,) uint64.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WORD = 64
"""Pixels (bits) per word."""
WORDS = 4
BLOCK = WORD * WORDS
"""Pixels per block."""
BLOCK_BYTES = BLOCK // 8
PLANES = 16
"""Enough planes for counts below 2^16."""
GROUP = 8
"""Frames that one pass of carry-save adders counts."""
INT32, INT64, BYTE = ir.IntType(32), ir.IntType(64), ir.IntType(8)
VECTOR, LANES = ir.VectorType(INT64, WORDS), ir.VectorType(BYTE, WORD)


def _at(context: Any, builder: Any, array_type: Any, array: Any, index: Any, pointee: Any) -> Any:
    """A pointer to element `index` of a C-contiguous array, as a pointer to `pointee`."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), pointee.as_pointer())


def _full_adder(builder: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """a + b + c = sum + 2 carry, for every bit."""
    half = builder.xor(a, b)
    return builder.xor(half, c), builder.or_(builder.and_(a, b), builder.and_(half, c))


def _make_add(frames: int, levels: int) -> Any:
    """Make a function that adds one frame or `GROUP` frames to `levels` planes."""

    @intrinsic
    def add(typing_context: Any, data: Any, offset: Any, stride: Any, planes: Any) -> Any:
        """Add the 256 bits from byte `offset` on, of frames that are `stride` bytes apart."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array, start, step, counter = arguments

            def load(frame: int) -> Any:
                at = builder.add(start, builder.mul(step, ir.Constant(step.type, frame)))
                return builder.load(_at(context, builder, signature.args[0], array, at, VECTOR), align=1)

            def plane(p: int) -> Any:
                at = ir.Constant(INT64, WORDS * p)
                return _at(context, builder, signature.args[3], counter, at, VECTOR)

            carry, low = load(0), 0
            if frames == GROUP:
                one, two, four = (builder.load(plane(p), align=8) for p in range(3))
                fours = []
                for i in (0, 4):
                    one, a = _full_adder(builder, one, load(i), load(i + 1))
                    one, b = _full_adder(builder, one, load(i + 2), load(i + 3))
                    two, c = _full_adder(builder, two, a, b)
                    fours.append(c)
                four, carry = _full_adder(builder, four, *fours)
                low = 3
                for p, value in enumerate((one, two, four)):
                    builder.store(value, plane(p), align=8)
            for p in range(low, levels):
                value = builder.load(plane(p), align=8)
                builder.store(builder.xor(value, carry), plane(p), align=8)
                carry = builder.and_(value, carry)
            return context.get_dummy_value()

        return types.void(data, types.intp, types.intp, planes), generate

    return add


def _make_clear(levels: int) -> Any:
    """Make a function that clears `levels` planes."""

    @intrinsic
    def clear(typing_context: Any, planes: Any) -> Any:
        """Set planes to 0 with whole vectors: the loads that follow would have to wait for narrower stores."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            for p in range(levels):
                at = ir.Constant(INT64, WORDS * p)
                target = _at(context, builder, signature.args[0], arguments[0], at, VECTOR)
                builder.store(ir.Constant(VECTOR, [0] * WORDS), target, align=8)
            return context.get_dummy_value()

        return types.void(planes), generate

    return clear


def _make_spread(planes: int, first: int) -> Any:
    """Make a function that spreads `planes` planes from plane `first` on; for `first` > 0 it adds to the output."""

    @intrinsic
    def spread(typing_context: Any, out: Any, offset: Any, words: Any, index: Any) -> Any:
        """out[offset + x] = sum over p of bit x of words[index + 4 p] << p, for the 64 pixels x of a word."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array, start, source, position = arguments
            target = _at(context, builder, signature.args[0], array, start, LANES)
            total = builder.load(target, align=1) if first else ir.Constant(LANES, [0] * WORD)
            eight_times = ir.Constant(ir.VectorType(INT32, WORD), [x // 8 for x in range(WORD)])
            own_bit = ir.Constant(LANES, [1 << x % 8 for x in range(WORD)])
            for plane in range(first, first + planes):
                at = builder.add(position, ir.Constant(position.type, WORDS * plane))
                word = builder.load(_at(context, builder, signature.args[2], source, at, INT64))
                octets = builder.bitcast(word, ir.VectorType(BYTE, 8))
                lanes = builder.shuffle_vector(octets, ir.Constant(octets.type, [0] * 8), eight_times)
                is_set = builder.icmp_unsigned("==", builder.and_(lanes, own_bit), own_bit)
                value, nothing = (ir.Constant(LANES, [v] * WORD) for v in (1 << plane, 0))
                total = builder.or_(total, builder.select(is_set, value, nothing))
            builder.store(total, target, align=1)
            return context.get_dummy_value()

        return types.void(out, types.intp, words, types.intp), generate

    return spread


clear_4, clear_16 = _make_clear(4), _make_clear(16)
add_1_to_2, add_1_to_4, add_1_to_8, add_1_to_16 = (_make_add(1, levels) for levels in (2, 4, 8, 16))
add_8_to_4, add_8_to_8, add_8_to_16 = (_make_add(GROUP, levels) for levels in (4, 8, 16))
spread_2 = _make_spread(2, 0)
"""Spreads planes 0 and 1: counts of 0..3."""
spread_4 = _make_spread(4, 0)
"""Spreads planes 0..3: counts of 0..15."""
add_spread_4 = _make_spread(4, 4)
"""Adds planes 4..7 to the result of `spread_4`: counts of 0..255."""

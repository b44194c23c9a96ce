"""What forward and backward share: positions of taps, and the weights and channels of a step."""

import triton
import triton.language as tl


@triton.jit
def tanh(a):
    """tanh, as exact near 0 as 1 is: 2 sigmoid(2a) - 1 would be three times as far off, and that times max_residue."""
    e = tl.exp(-2.0 * tl.abs(a))
    t = (1.0 - e) / (1.0 + e)
    return tl.where(a < 0.0, -t, t)


@triton.jit
def load_tap(
    predicted,  # (P,) pointers to rows of 27G
    y0, x0,  # (P,) where the flow points to
    tap, g, mask, residue,
    G: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Positions of a tap, tanh of dy and dx, and the gate, for groups g: (P,GC) each in ACC."""
    at = predicted[:, None] + (tap * (3 * G) + g)[None, :]  # (P,GC)
    dy = tl.load(at, mask=mask, other=0.0).to(ACC)
    dx = tl.load(at + G, mask=mask, other=0.0).to(ACC)
    gate = tl.load(at + 2 * G, mask=mask, other=0.0).to(ACC)
    dy, dx = tanh(dy), tanh(dx)
    sy = y0[:, None] + (tap // 3 - 1) + residue * dy
    sx = x0[:, None] + (tap % 3 - 1) + residue * dx
    return sy, sx, dy, dx, tl.sigmoid(gate)


@triton.jit
def load_step_weight(
    weight_ptr,  # (9,C,COUT)
    tap, first, o,
    C: tl.constexpr, G: tl.constexpr, EP: tl.constexpr, GC: tl.constexpr, COUT: tl.constexpr, CO: tl.constexpr,
):  # fmt: skip
    """Weights of one step for outputs o .. o+CO: (GC*EP,CO), zero in padded channels."""
    row, exists = step_rows(first, C, G, EP, GC)
    column = o + tl.arange(0, CO)
    mask = exists[:, None] & (column < COUT)[None, :]
    return tl.load(weight_ptr + (tap * C + row)[:, None] * COUT + column[None, :], mask=mask, other=0.0)


@triton.jit
def step_rows(first, C: tl.constexpr, G: tl.constexpr, EP: tl.constexpr, GC: tl.constexpr):
    """The channels of GC groups from `first` on, padded: (GC*EP,), and which of them exist."""
    E: tl.constexpr = C // G
    k = tl.arange(0, GC * EP)
    g, e = first + k // EP, k % EP
    return g * E + e, (g < G) & (e < E)

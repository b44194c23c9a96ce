"""What forward and backward share: positions of taps, and features between the four pixels around a position."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_pairs import around


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
def load_corner(
    at,  # (P,GC) pointers to the first channel of a group
    exists,  # (P,GC)
    E: tl.constexpr, EP: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The channels of groups at one corner: (P,GC,EP) in ACC, zero outside the image."""
    e = tl.arange(0, EP)[None, None, :]
    return tl.load(at[:, :, None] + e, mask=exists[:, :, None] & (e < E), other=0.0).to(ACC)


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


@triton.jit
def sample_step(
    frame,  # (H,W,C) pointer
    predicted,  # (P,) pointers to rows of 27G
    y0, x0, inside,  # (P,)
    tap, first, residue, H, W,
    C: tl.constexpr, G: tl.constexpr, EP: tl.constexpr, GC: tl.constexpr, P: tl.constexpr, DOT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """What the product of one step multiplies: features between pixels times the gate, (P,GC*EP) in DOT."""
    E: tl.constexpr = C // G
    g = first + tl.arange(0, GC)  # (GC,)
    mask = inside[:, None] & (g < G)[None, :]  # (P,GC)
    sy, sx, _, _, gate = load_tap(predicted, y0, x0, tap, g, mask, residue, G, ACC)  # (P,GC)
    iy, ix, ry, rx, above, below, before, after = around(sy, sx, mask, H, W)  # (P,GC)
    at = frame + (tl.cast(iy * W + ix, tl.int64) * C + (g * E)[None, :])  # (P,GC)
    upper, lower = gate * (1.0 - ry), gate * ry
    value = (upper * (1.0 - rx))[:, :, None] * load_corner(at, above & before, E, EP, ACC)  # (P,GC,EP)
    value += (upper * rx)[:, :, None] * load_corner(at + C, above & after, E, EP, ACC)
    value += (lower * (1.0 - rx))[:, :, None] * load_corner(at + W * C, below & before, E, EP, ACC)
    value += (lower * rx)[:, :, None] * load_corner(at + W * C + C, below & after, E, EP, ACC)
    return tl.reshape(value, (P, GC * EP)).to(DOT)

"""Small kernels whose traffic and resources are known."""

import torch
import triton
import triton.language as tl

from spikevrt_kernels.core.launch import Launch, Pointer


@triton.jit
def weighted_sum_kernel(
    x_ptr,  # (N,)
    weight_ptr,  # (1,)
    out_ptr,  # (N,)
    count_ptr,  # (1,) int32
    N,
    STEP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """out = weight * x, twice read, at a distance of STEP elements."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + STEP * i, mask=i < N, other=0.0)
    again = tl.load(x_ptr + STEP * i, mask=i < N, other=0.0)
    tl.store(out_ptr + i, tl.load(weight_ptr) * 0.5 * (x + again), mask=i < N)
    tl.atomic_add(count_ptr, 1)


@triton.jit
def row_product_kernel(
    x_ptr,  # (ROWS,N)
    out_ptr,  # (ROWS,N)
    N,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """out = x * (sum of x over rows): every row stays in registers until the last is read."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    rows = ()
    total = tl.zeros((BLOCK,), tl.float32)
    for r in tl.static_range(ROWS):
        row = tl.load(x_ptr + r * N + i, mask=i < N, other=0.0)
        rows = rows + (row,)
        total += row
    for r in tl.static_range(ROWS):
        tl.store(out_ptr + r * N + i, rows[r] * total, mask=i < N)


@triton.jit
def product_kernel(
    a_ptr,  # (64,64)
    b_ptr,  # (64,64)
    out_ptr,  # (64,64)
):
    """out = a @ b, one program."""
    i = tl.arange(0, 64)
    at = i[:, None] * 64 + i[None, :]
    tl.store(out_ptr + at, tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)))


@triton.jit
def exponentials_kernel(
    x_ptr,  # (tiles,N,BLOCK)
    out_ptr,  # (tiles,BLOCK)
    tiles,
    N,
    BLOCK: tl.constexpr,
):
    """Sums of 2^x over N; programs walk over the tiles."""
    i = tl.arange(0, BLOCK)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), disable_licm=True):
        total = tl.zeros((BLOCK,), tl.float32)
        for n in tl.range(0, N, disable_licm=True):
            total += tl.exp2(tl.load(x_ptr + (tile * N + n) * BLOCK + i) * total)
        tl.store(out_ptr + tile * BLOCK + i, total)


@triton.jit
def growing_kernel(out_ptr, N):
    """A loop whose trips follow from another one's place."""
    for n in tl.range(0, N):
        total = 0.0
        for m in tl.range(0, n):
            total = total * 0.5 + tl.load(out_ptr + m)
        tl.store(out_ptr + n, total)


@triton.jit
def unknown_kernel(out_ptr, count_ptr):
    """A loop whose trips are in memory."""
    for n in tl.range(0, tl.load(count_ptr)):
        tl.store(out_ptr + n, tl.load(out_ptr + n) * 0.5)


@triton.jit
def branching_tile(x_ptr, out_ptr, tile, few):
    """2^(x @ x) of the first tiles, x @ x / 2 + 1 of the others."""
    i = tl.arange(0, 64)
    at = i[:, None] * 64 + i[None, :]
    x = tl.load(x_ptr + tile * 4096 + at)
    y = tl.exp2(tl.dot(x, x)) if tile < few else tl.dot(x, x) * 0.5 + 1.0
    tl.store(out_ptr + tile * 4096 + at, y)


@triton.jit
def branching_kernel(
    x_ptr,  # (tiles,64,64)
    out_ptr,  # (tiles,64,64)
    tiles,
    few,
    WALK: tl.constexpr,
):
    """A tile for each program, or all tiles shared out if WALK."""
    if WALK:
        for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), disable_licm=True):
            branching_tile(x_ptr, out_ptr, tile, few)
    else:
        branching_tile(x_ptr, out_ptr, tl.program_id(0), few)


def exponentials(tiles: int, n: int, programs: int, block: int = 4096) -> Launch:
    x, out = torch.empty(tiles, n, block, device="meta"), torch.empty(tiles, block, device="meta")
    arguments = {"x_ptr": x, "out_ptr": out, "tiles": tiles, "N": n, "BLOCK": block}
    return Launch(exponentials_kernel, (programs,), arguments, {"num_warps": 2, "num_stages": 1})


def growing() -> Launch:
    return Launch(growing_kernel, (1,), {"out_ptr": torch.empty(8, device="meta"), "N": 8}, {"num_warps": 1})


def unknown() -> Launch:
    arguments = {"out_ptr": torch.empty(8, device="meta"), "count_ptr": Pointer(torch.int32, True)}
    return Launch(unknown_kernel, (1,), arguments, {"num_warps": 1})


def branching(tiles: int, few: int, programs: int | None = None) -> Launch:
    x = torch.empty(tiles, 64, 64, device="meta", dtype=torch.float16)
    arguments = {"x_ptr": x, "out_ptr": x.float(), "tiles": tiles, "few": few, "WALK": programs is not None}
    return Launch(branching_kernel, (programs or tiles,), arguments, {"num_warps": 4})


def row_product(rows: int, block: int) -> Launch:
    x = torch.empty(rows, 4096, device="meta")
    arguments = {"x_ptr": x, "out_ptr": torch.empty_like(x), "N": 4096, "ROWS": rows, "BLOCK": block}
    return Launch(row_product_kernel, (4096 // block,), arguments, {"num_warps": 1})


def product() -> Launch:
    a, b = torch.empty(2, 64, 64, device="meta", dtype=torch.bfloat16)
    out = torch.empty(64, 64, device="meta")
    return Launch(product_kernel, (1,), {"a_ptr": a, "b_ptr": b, "out_ptr": out}, {"num_warps": 4})


@triton.jit(do_not_specialize=["fixed"], do_not_specialize_on_alignment=["unaligned", "loose_ptr"])
def mixed_numbers_kernel(
    x_ptr,  # (1,)
    loose_ptr,  # (1,)
    plain,
    fixed,
    unaligned,
    wide: tl.int64,
):
    """Numbers and pointers of every kind that the launcher tells apart."""
    tl.store(x_ptr, tl.load(loose_ptr) * plain * fixed * unaligned * wide)


def mixed_numbers(value: float, aligned: bool) -> Launch:
    x = Pointer(torch.float32, aligned)
    numbers = dict.fromkeys(("plain", "fixed", "unaligned", "wide"), value)
    return Launch(mixed_numbers_kernel, (1,), {"x_ptr": x, "loose_ptr": x, **numbers}, {"num_warps": 1})


@triton.jit
def impossible_kernel(
    x_ptr,  # (3,)
):
    """A tile whose length is no power of two, which no compiler takes."""
    tl.store(x_ptr + tl.arange(0, 3), 0.0)


def impossible() -> Launch:
    return Launch(impossible_kernel, (1,), {"x_ptr": torch.empty(3, device="meta")}, {"num_warps": 1})

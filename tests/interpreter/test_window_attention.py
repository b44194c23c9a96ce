"""Fused window attention in the interpreter: outputs and gradients against float64, quirks, registration."""

from math import prod

import numpy as np
import pytest
import torch

from spikevrt.models.vrt.window_block import BlockSettings, WindowBlock
from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.core.tuned import kernels_asked_for, trying
from spikevrt_kernels.proof.operator_counter import count_saved
from spikevrt_kernels.window_attention import RelativeBias, effective_window, window_attention
from spikevrt_kernels.window_attention.triton import launch
from spikevrt_kernels.window_attention.triton import registered as fused
from tests.conformance.test_modules_reference import GROUPS, WINDOWS, group_error, weights_of, window_error

SMALL_WEIGHT = 0.3
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3}
CASES = {  # (B,D,H,W), heads, head width, window, shift, mutual
    "mutual-padded-shifted": ((1, 3, 2, 5), 1, 20, (2, 2, 4), (1, 0, 2), True),
    "self-shrunken": ((1, 3, 2, 6), 2, 8, (6, 4, 4), (3, 2, 2), False),
}
MORE = {
    "self-padded-shifted": ((1, 3, 5, 6), 1, 5, (2, 4, 4), (1, 2, 2), False),
    "self-w1x3x5": ((1, 2, 4, 7), 1, 16, (1, 3, 5), (0, 1, 2), False),
    "self-tiles": ((1, 2, 8, 8), 1, 12, (2, 8, 8), (0, 0, 0), False),
    "mutual-tiles": ((1, 2, 9, 8), 1, 3, (2, 9, 8), (0, 0, 0), True),
    "self-E64": ((1, 1, 2, 3), 1, 64, (1, 2, 2), (0, 1, 1), False),
    "mutual-batch": ((2, 2, 2, 4), 2, 4, (2, 2, 2), (0, 0, 1), True),
}


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """Few programs share the windows, so that each walks over several."""
    monkeypatch.setattr(launch, "MUTUAL_SPLITS", 3)
    monkeypatch.setattr(launch, "LEAST_WINDOWS", 2)
    monkeypatch.setattr(launch, "PART", 1)


def make_inputs(case, dtype=torch.float64):
    """qkv, offset, table and, with mutual attention, its offset; the other arguments of the operator."""
    size, heads, E, window, shift, mutual = case
    effective, moved = effective_window(size[1:], window, shift)
    C = heads * E
    shapes = [(*size, 6 * C if mutual else 3 * C), (3 * C,), (prod(2 * s - 1 for s in window), heads)]
    if mutual:
        shapes.append((prod(effective[1:]), 3 * C))
    inputs = [torch.randn(s, dtype=dtype) for s in shapes]
    spread = [x if x is inputs[0] else SMALL_WEIGHT * x for x in inputs]
    return [x.requires_grad_() for x in spread], (heads, effective, moved, window)


def attend(backend, inputs, arguments, added=False):
    qkv, offset, table, *rest = inputs
    heads, window, shift, configured = arguments
    places = rest[0] if rest else None
    bias = RelativeBias(table, configured)
    return window_attention(qkv, offset, bias, heads, window, shift, places, backend, added)


def run(backend, inputs, arguments, R, added=False):
    out = attend(backend, inputs, arguments, added)
    return out, torch.autograd.grad(out, inputs, R.to(out.dtype))


def error(actual, expected):
    return float((actual.detach().double() - expected.detach()).norm() / expected.detach().norm())


def compare(case, dtype, tolerance, added=False):
    inputs, arguments = make_inputs(case, dtype)
    width = inputs[1].shape[0] // 3 * (2 if len(inputs) > 3 else 1)
    R = torch.randn(*inputs[0].shape[:-1], width).to(dtype)
    out, gradients = run("triton", inputs, arguments, R, added)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    wanted, wanted_gradients = run("naive", exact, arguments, R, added)
    assert out.dtype == dtype
    assert error(out, wanted) < tolerance
    for name, actual, expected in zip(("qkv", "offset", "table", "mutual"), gradients, wanted_gradients, strict=False):
        assert float((actual.double() - expected).norm()) <= tolerance * float(expected.norm()), name
        assert actual.dtype == dtype


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda d: str(d).split(".")[1])
def test_forward_and_gradients(dtype, case):
    compare(case, dtype, TOLERANCES[dtype])


@pytest.mark.parametrize("case", MORE.values(), ids=MORE)
def test_tiles_widths_and_batches(case):
    compare(case, torch.float64, 1e-12)


ADDED = {
    "self-padded-shifted": MORE["self-padded-shifted"],
    "mutual-padded-shifted": CASES["mutual-padded-shifted"],
    "self-inner": ((1, 2, 6, 4), 1, 8, (2, 2, 4), (0, 1, 0), False),
}
"""Padded windows, the last ones of a shifted axis and inner ones."""


@pytest.mark.parametrize("case", ADDED.values(), ids=ADDED)
def test_offsets_that_the_projection_added(case):
    """Only padding gets them here: nothing is left of their gradients where nothing is padded."""
    compare(case, torch.float64, 1e-12, added=True)


def test_offsets_that_the_projection_added_in_half():
    compare(ADDED["self-inner"], torch.float16, 1e-3, added=True)


PAIRS = {
    "self-inner": ADDED["self-inner"],
    "self-mixed": ((1, 3, 4, 6), 1, 5, (2, 2, 2), (1, 1, 1), False),
    "self-clips": ((3, 2, 2, 2), 2, 4, (2, 2, 2), (0, 0, 0), False),
    "self-tiles": ((1, 5, 2, 10), 1, 3, (5, 2, 2), (0, 0, 0), False),
    "mutual": ((1, 2, 2, 6), 1, 4, (2, 2, 2), (0, 0, 0), True),
}
"""Two inner windows, and one alone that is not; some inner, some not; of two clips; of several tiles; two frames."""


def two_windows_a_program(inputs, arguments):
    """The rows of the forward that make a program own two windows, in tiles of 16 tokens."""
    with torch.no_grad(), kernels_asked_for() as kernels:
        attend("triton", inputs, arguments)
    return {kernel: (16, 16, 4, 2) for kernel in kernels if kernel.name in ("forward", "mutual_forward")}


@pytest.mark.parametrize(("name", "added"), [*((name, False) for name in PAIRS), ("self-mixed", True)])
def test_two_windows_a_program(name, added):
    with trying(two_windows_a_program(*make_inputs(PAIRS[name]))):
        compare(PAIRS[name], torch.float64, 1e-12, added)


@pytest.mark.parametrize("T", range(1, 9))
def test_windows_of_all_frames(T, within):
    inputs, arguments = make_inputs(((1, T, 8, 8), 1, 2, (T, 8, 8), (0, 0, 0), False))
    with torch.no_grad():
        found, wanted = (attend(backend, inputs, arguments) for backend in ("triton", "naive"))
    within(f"window ({T},8,8) triton", error(found, wanted), 1e-12)


def change_of_first_token(case):
    """Largest change of the output (D,H,W,C or 2C) where the first token alone changes."""
    inputs, arguments = make_inputs(case)
    with torch.no_grad():
        before = attend("triton", inputs, arguments)
        inputs[0][:, 0, 0, 0] += 1
        return (attend("triton", inputs, arguments) - before).abs()[0]


def test_nothing_passes_from_one_region_of_a_shifted_window_to_another():
    """After the shift the first token is in the last window, where four places of its frame stay together."""
    change = change_of_first_token(MORE["self-padded-shifted"])
    assert change[0, :2, :2].amax(-1).min() > 1e-6
    for others in (change[1:], change[:, 2:], change[:, :, 2:]):
        assert others.max() < 1e-30


def test_the_mutual_branch_alone_lets_the_last_and_the_first_frame_meet():
    change = change_of_first_token(((1, 4, 2, 2), 1, 3, (2, 2, 2), (1, 0, 0), True))
    mutual, own = change[..., :3], change[..., 3:]
    assert mutual[3].max() > 1e-3, "its slots hold the first frame's queries"
    assert own[0].max() > 1e-3
    assert own[1:].max() < 1e-30


def test_any_strides_and_an_expanded_gradient():
    inputs, arguments = make_inputs(MORE["mutual-batch"])
    turned = inputs[0].detach().transpose(1, 3).contiguous().transpose(1, 3).requires_grad_()
    table = inputs[2].detach().t().contiguous().t().requires_grad_()
    R = torch.ones((), dtype=torch.float64).expand(*turned.shape[:-1], turned.shape[-1] // 3)
    leaves = [turned, inputs[1], table, inputs[3]]
    found, wanted = (run(backend, leaves, arguments, R) for backend in ("triton", "naive"))
    assert error(found[0], wanted[0]) < 1e-12
    assert all(error(a, b) < 1e-12 for a, b in zip(found[1], wanted[1], strict=True))


@pytest.mark.parametrize("mutual", [False, True], ids=["self", "mutual"])
def test_gradcheck(mutual):
    inputs, arguments = make_inputs(((1, 2, 2, 1), 1, 2, (2, 2, 1), (0, 0, 0), mutual))
    assert torch.autograd.gradcheck(lambda *x: attend("triton", x, arguments), inputs, fast_mode=True)


@pytest.mark.parametrize("mutual", [False, True], ids=["self", "mutual"])
def test_opcheck(mutual):
    inputs, (heads, *sizes) = make_inputs(((1, 2, 1, 2), 1, 2, (2, 1, 2), (0, 0, 0), mutual), torch.float32)
    places = inputs[3] if mutual else None
    torch.library.opcheck(fused.REGISTERED.forward, (*inputs[:3], places, heads, *map(list, sizes)))


def make_block(mutual, checkpointed):
    torch.manual_seed(0)
    settings = BlockSettings(1, checkpoint_attn=checkpointed, attn_backend="triton")
    block = WindowBlock(4, (2, 2, 2), (1, 1, 1), mutual, settings).double()
    torch.nn.init.normal_(block.attn.relative_position_bias_table)
    return block, torch.randn(1, 3, 2, 3, 4, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("mutual", [False, True], ids=["self", "mutual"])
def test_blocks_checkpointed_and_compiled_without_a_break(mutual):
    """The same bits every time: sums have a fixed order."""
    runs = []
    for aided in (False, True):
        block, x = make_block(mutual, checkpointed=aided)
        f = torch.compile(block, fullgraph=True, backend="aot_eager") if aided else block
        runs.append(torch.autograd.grad(f(x).square().sum(), [x, *block.parameters()]))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    block.attn.attn_backend = "naive"
    wanted = torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])
    assert all(error(a, b) < 1e-11 for a, b in zip(runs[0], wanted, strict=True))


def test_checkpointing_without_a_compiler_repeats_the_bits():
    (plain, x), (block, _) = (make_block(True, checkpointed) for checkpointed in (False, True))
    found, wanted = (torch.autograd.grad(f(x).square().sum(), [x, *f.parameters()]) for f in (block, plain))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_autocast_takes_projections_in_half_and_offsets_in_float():
    block, x = make_block(True, False)
    attention, window = block.attn, effective_window(x.shape[1:4], (2, 2, 2), (1, 1, 1))
    attention, x = attention.float(), x.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.float16):
        out = attention(x, *window)
    gradients = torch.autograd.grad(out.float().square().sum(), [x, *attention.parameters()])
    attention, exact = attention.double(), x.detach().double().requires_grad_()
    attention.attn_backend = "naive"
    wanted = attention(exact, *window)
    wanted_gradients = torch.autograd.grad(wanted.square().sum(), [exact, *attention.parameters()])
    assert out.dtype == torch.float16
    assert error(out, wanted) < 2e-3
    assert all(g.dtype == torch.float32 for g in gradients)
    assert all(error(a, b) < 5e-3 for a, b in zip(gradients, wanted_gradients, strict=True))


def test_reference_numbers_of_modules(conformance_dir, within):
    arrays, fill = dict(np.load(conformance_dir / "modules.npz")), weights_of(conformance_dir)
    with torch.no_grad():
        for key in WINDOWS:
            within(f"modules {key} triton", window_error(key, "triton", arrays, fill), 1e-12)
        for name in GROUPS:
            within(f"modules {name} triton", group_error(name, "triton", arrays, fill), 1e-12)


def test_nothing_but_projections_output_and_logs_is_saved(within):
    inputs, arguments = make_inputs(((1, 2, 4, 4), 2, 16, (2, 4, 4), (0, 0, 0), False), torch.float16)
    unit = inputs[0].numel() // 3 * 2
    with count_saved(*inputs[1:]) as saved:
        attend("triton", inputs, arguments)
    within("window attention saved, units", sum(saved) / unit, 4 + 4 / (16 * 2))


def test_what_cannot_run_raises_a_sentence():
    inputs, arguments = make_inputs(((1, 1, 1, 1), 1, 65, (1, 1, 1), (0, 0, 0), False), torch.float32)
    with pytest.raises(BackendError, match=r"window_attention: .*heads of width 65 are wider than 64; use sdpa"):
        attend("triton", inputs, arguments)
    inputs, arguments = make_inputs(((1, 2, 1, 1), 1, 4, (2, 1, 1), (0, 0, 0), True), torch.bfloat16)
    with pytest.raises(BackendError, match="bfloat16 is not one of float64, float32, float16"):
        attend("triton", inputs, arguments)
    inputs, _ = make_inputs(((1, 2, 2, 2), 1, 4, (2, 2, 2), (0, 0, 0), True))
    with pytest.raises(ValueError, match="takes two frames, and an offset for each place"):
        attend("triton", inputs, (1, (2, 2, 1), (0, 0, 0), (2, 2, 2)))

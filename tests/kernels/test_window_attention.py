"""Window attention: both backends with all gradients, in float64 on odd sizes; when the kept bias must change."""

import copy
import pickle

import pytest
import torch
from torch import nn

from spikevrt.models.vrt.window_block import BlockSettings, WindowAttention, WindowBlock
from spikevrt_kernels.proof.operator_counter import count_saved
from spikevrt_kernels.window_attention import (
    KeptBias,
    RelativeBias,
    effective_window,
    relative_position_index,
    sdpa,
    window_attention,
)
from spikevrt_kernels.window_attention.relative_bias import table_gradient
from spikevrt_kernels.window_attention.windows import padded_size, partition, unpartition

# Size, window and shift as configured.
EXTENTS = {
    "D4-H6-W6-whole": ((4, 6, 6), (2, 3, 3), (0, 0, 0)),
    "D4-H6-W6-shifted": ((4, 6, 6), (2, 3, 3), (1, 1, 1)),
    "D5-H7-W8-padded": ((5, 7, 8), (2, 3, 3), (0, 0, 0)),
    "D5-H7-W8-padded-shifted": ((5, 7, 8), (2, 3, 3), (1, 2, 1)),
    "D3-H9-W3-one-axis-fits": ((3, 9, 3), (2, 4, 3), (1, 2, 1)),
    "D4-H3-W7-shrunk": ((4, 3, 7), (2, 4, 4), (1, 2, 2)),
}


def leaves_of(size, window, mutual, heads=2, width=6, batch=2):
    """qkv (not contiguous), offset, table and mutual offset that need gradients."""
    torch.manual_seed(0)
    _, h, w = (min(s, n) for s, n in zip(size, window, strict=True))
    rows = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
    channels = 6 * width if mutual else 3 * width
    qkv = torch.randn(batch, channels, *size, dtype=torch.float64).movedim(1, -1).requires_grad_()
    offset = torch.randn(3 * width, dtype=torch.float64, requires_grad=True)
    table = torch.randn(rows, heads, dtype=torch.float64, requires_grad=True)
    places = torch.randn(h * w, 3 * width, dtype=torch.float64, requires_grad=True) if mutual else None
    return qkv, offset, table, places


def run(backend, qkv, offset, table, places, size, window, shift, heads=2, added=False):
    window_now, shift_now = effective_window(size, window, shift)
    return window_attention(
        qkv, offset, RelativeBias(table, window), heads, window_now, shift_now, places, backend, added
    )


@pytest.mark.parametrize("scores", [1, 3 * 2 * 18**2, 2**20], ids=["one-window", "few-windows", "all-windows"])
@pytest.mark.parametrize("mutual", [False, True], ids=["self", "mutual"])
@pytest.mark.parametrize("extent", EXTENTS.values(), ids=EXTENTS)
def test_sdpa_and_all_gradients_equal_the_reference(extent, mutual, scores, monkeypatch):
    size, window, shift = extent
    monkeypatch.setattr(sdpa, "CPU_SCORES", scores)
    qkv, offset, table, places = leaves_of(size, window, mutual)
    leaves = [t for t in (qkv, offset, table, places) if t is not None]
    wanted = run("naive", qkv, offset, table, places, size, window, shift)
    found = run("sdpa", qkv, offset, table, places, size, window, shift)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() < 1e-12
    R = torch.randn_like(wanted)
    expected = torch.autograd.grad((wanted * R).sum(), leaves)
    actual = torch.autograd.grad((found * R).sum(), leaves)
    for a, e in zip(actual, expected, strict=True):
        assert (a - e).abs().max() < 1e-11
        assert a.abs().max() > 0


@pytest.mark.parametrize("backend", ["naive", "sdpa"])
@pytest.mark.parametrize("mutual", [False, True], ids=["self", "mutual"])
@pytest.mark.parametrize("extent", EXTENTS.values(), ids=EXTENTS)
def test_offsets_that_the_projection_added(extent, mutual, backend):
    """The output is the same; the gradients of the offsets are those of padding, the others those of qkv."""
    size, window, shift = extent
    qkv, offset, _, places = inputs = leaves_of(size, window, mutual)
    wanted = run("naive", *inputs, size, window, shift)
    moved = qkv + offset if places is None else added_to_all(qkv, offset, places, window, shift)
    found = run(backend, moved, *inputs[1:], size, window, shift, added=True)
    assert (found - wanted).abs().max() < 1e-12
    leaves, R = [x for x in inputs if x is not None], torch.randn_like(wanted)
    expected, actual = (torch.autograd.grad((x * R).sum(), leaves, retain_graph=True) for x in (wanted, found))
    assert all((a - e).abs().max() < 1e-11 for a, e in zip(actual, expected, strict=True))
    offsets = [x for x in (offset, places) if x is not None]
    moved = moved.detach()
    rest = torch.autograd.grad((run(backend, moved, *inputs[1:], size, window, shift, added=True) * R).sum(), offsets)
    if padded_size(size, effective_window(size, window, shift)[0]) == size:
        assert all(not x.any() for x in rest)


def added_to_all(qkv, offset, places, window, shift):
    """qkv with both offsets: a mutual projection's depends on the token's place in its window."""
    window, shift = effective_window(qkv.shape[1:4], window, shift)
    tokens = partition(qkv, window, shift) + torch.cat(
        (offset.expand(window[0] * len(places), -1), places.repeat(2, 1)), 1
    )
    return unpartition(tokens, qkv.shape[1:4], window, shift)


def test_gradcheck():
    size, window, shift = (3, 3, 4), (2, 2, 2), (1, 1, 1)
    qkv, offset, table, places = leaves_of(size, window, True, width=2, batch=1)

    def attend(qkv, offset, table, places):
        return run("sdpa", qkv, offset, table, places, size, window, shift)

    assert torch.autograd.gradcheck(attend, (qkv, offset, table, places), fast_mode=True)


def test_results_of_padding_are_never_read(monkeypatch):
    """Memory that was not written holds NaN here."""

    def poisoned(tensor, *size, dtype=None):
        return torch.full(size, torch.nan, dtype=dtype or tensor.dtype)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    size, window, shift = (5, 7, 8), (2, 3, 3), (1, 2, 1)
    qkv, offset, table, places = leaves_of(size, window, True)
    out = run("sdpa", qkv, offset, table, places, size, window, shift)
    gradients = torch.autograd.grad(out.square().sum(), (qkv, offset, table, places))
    assert all(torch.isfinite(t).all() for t in (out, *gradients))


@pytest.mark.parametrize("backend", ["naive", "sdpa"])
def test_frozen_inputs_get_no_gradient(backend):
    size, window, shift = (4, 6, 6), (2, 3, 3), (1, 1, 1)
    qkv, offset, table, places = leaves_of(size, window, True)
    table.requires_grad_(False)
    offset.requires_grad_(False)
    run(backend, qkv, offset, table, places, size, window, shift).sum().backward()
    assert table.grad is None
    assert offset.grad is None
    assert qkv.grad is not None


@pytest.mark.parametrize("tokens", [24, 8], ids=["whole", "shrunk"])
def test_table_gradient_is_the_sum_over_pairs_of_equal_offset(tokens):
    window = (2, 3, 4)
    grad = torch.randn(2, tokens, tokens, dtype=torch.float64)
    index = relative_position_index(window)[:tokens, :tokens]
    wanted = torch.zeros(3 * 5 * 7, 2, dtype=torch.float64)
    wanted.index_add_(0, index.reshape(-1), grad.permute(1, 2, 0).reshape(-1, 2))
    assert (table_gradient(grad, window) - wanted).abs().max() < 1e-13


def module_and_input():
    torch.manual_seed(0)
    module = WindowAttention(8, (2, 3, 3), 2, True, attn_backend="sdpa").double()
    nn.init.normal_(module.relative_position_bias_table)
    x = torch.randn(1, 4, 6, 6, 8, dtype=torch.float64)
    return module, lambda m: m(x, (2, 3, 3), (1, 1, 1))


CHANGES = {
    "through-data": lambda m: m.relative_position_bias_table.data.mul_(2),
    "new-data": lambda m: setattr(
        m.relative_position_bias_table, "data", m.relative_position_bias_table.detach().clone().mul_(2)
    ),
    "load-state": lambda m: m.load_state_dict({k: v * 2 for k, v in m.state_dict().items()}),
    "optimiser": lambda m: torch.optim.AdamW(m.parameters(), lr=0.1, foreach=True).step(),
    "fused-optimiser": lambda m: torch.optim.AdamW(m.parameters(), lr=0.1, fused=True).step(),
    "to-float": lambda m: m.float().double(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_kept_bias_follows_its_table(change):
    module, apply = module_and_input()
    apply(module).square().sum().backward()
    before = apply(module)
    change(module)
    fresh = copy.deepcopy(module)
    fresh.kept_bias = KeptBias()
    after = apply(module)
    assert torch.equal(after, apply(fresh))
    assert not torch.equal(after, before)


def test_a_bias_is_gathered_once_for_equal_values(monkeypatch):
    module, apply = module_and_input()
    calls = []
    gathered = RelativeBias.gathered
    monkeypatch.setattr(RelativeBias, "gathered", lambda bias, tokens: calls.append(1) or gathered(bias, tokens))
    with torch.no_grad():
        apply(module), apply(module)
    # Training with checkpointing runs the forward pass twice a step.
    apply(module).sum().backward()
    assert len(calls) == 1


def test_copies_and_files_hold_no_kept_bias():
    module, apply = module_and_input()
    out = apply(module)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert other.kept_bias.bias is None
        assert torch.equal(apply(other), out)
    assert not any("kept" in key for key in module.state_dict())


def test_training_saves_nothing_of_the_size_of_the_scores():
    size, window, shift = (2, 12, 12), (2, 6, 6), (0, 3, 3)
    qkv, offset, table, _ = leaves_of(size, window, False, batch=4)
    with count_saved(qkv, offset, table) as sizes:
        run("sdpa", qkv, offset, table, None, size, window, shift)
    scores_of_a_window = 2 * 72**2 * 8
    assert sum(sizes) < 1.2 * scores_of_a_window  # the bias, and the offsets of a window's places


def test_compiles_whole():
    torch.manual_seed(0)
    block = WindowBlock(8, (2, 3, 3), (1, 1, 1), True, BlockSettings(2, attn_backend="sdpa"))
    x = torch.randn(1, 3, 7, 6, 8, requires_grad=True)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    leaves = (x, *block.parameters())
    wanted, found = (torch.autograd.grad(f(x).square().sum(), leaves) for f in (block, compiled))
    assert all((a - b).abs().max() < 1e-4 for a, b in zip(wanted, found, strict=True))


def test_half_precision_under_autocast():
    module, _ = module_and_input()
    module, x = module.float(), torch.randn(1, 3, 7, 6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x, (2, 3, 3), (1, 1, 1))
        out.float().square().sum().backward()
    exact = module(x, (2, 3, 3), (1, 1, 1))
    assert out.dtype == torch.bfloat16
    assert (out - exact).norm() < 0.02 * exact.norm()
    half = module.relative_position_bias_table.grad.clone()
    module.zero_grad()
    exact.square().sum().backward()
    assert (half - module.relative_position_bias_table.grad).norm() < 0.1 * half.norm()

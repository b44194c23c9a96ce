"""The fused block in the interpreter: outputs and gradients against float64, tiles, dropout, traffic."""

from dataclasses import replace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from spikevrt.models.temporal import TemporalCrossBlock, TemporalSelfBlock, TimeSettings
from spikevrt_kernels.core import sums
from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.proof.byte_counter import count_bytes
from spikevrt_kernels.proof.operator_counter import count_saved
from spikevrt_kernels.temporal_block import Chunking
from spikevrt_kernels.temporal_block.spec import FEATURES
from spikevrt_kernels.temporal_block.triton import launch
from spikevrt_kernels.temporal_block.triton import registered as fused

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3}
# B, C, T, Tk (None = self), H, W, heads, MLP ratio
SMALL = {
    "self-B2-C24-T3-H5W7": (2, 24, 3, None, 5, 7, 4, 2),
    "cross-B1-C40-T2-Tk3-H9W7": (1, 40, 2, 3, 9, 7, 2, 1),
}
ODD = {
    "self-C8-T1": (1, 8, 1, None, 3, 3, 1, 4),
    "cross-C16-T8-Tk2": (1, 16, 8, 2, 1, 5, 4, 2),
    "self-C72-T2": (1, 72, 2, None, 3, 5, 3, 1),
    "cross-C128-T1-Tk2": (1, 128, 1, 2, 1, 3, 2, 1),
}


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """Few programs share the tiles, so that each walks over several."""
    monkeypatch.setattr(sums, "PROGRAMS", 2)


def make_block(C, cross, heads, ratio, dropout=0.0, chunk=None):
    torch.manual_seed(0)
    kind = TemporalCrossBlock if cross else TemporalSelfBlock
    block = kind(C, TimeSettings(heads, dropout, ratio, "triton", chunk)).double()
    for name, parameter in block.named_parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim == 1 else C**-0.5)
        if "ln" in name and name.endswith("weight"):
            parameter.data += 1
    return block


def features(dtype, B, C, T, Tk, H, W):
    return [torch.randn(B, C, t, H, W, dtype=dtype, requires_grad=True) for t in (T, Tk) if t is not None]


def run(block, backend, inputs, R):
    block.settings = replace(block.settings, attn_backend=backend)
    out = block(*inputs)
    return out, torch.autograd.grad(out, [*inputs, *block.parameters()], R.to(out.dtype))


def error(actual, expected):
    return float((actual.detach().double() - expected.detach()).norm() / expected.detach().norm())


def compare(shape, dtype, tolerance, chunk=None):
    *sizes, heads, ratio = shape
    block = make_block(sizes[1], sizes[3] is not None, heads, ratio, chunk=chunk).to(dtype)
    inputs = features(dtype, *sizes)
    R = torch.randn(inputs[0].shape).to(dtype)
    out, gradients = run(block, "triton", inputs, R)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    wanted, wanted_gradients = run(block.double(), "naive", exact, R)
    assert out.dtype == dtype
    assert error(out, wanted) < tolerance
    names = ["x", "context"][: len(inputs)] + [n for n, _ in block.named_parameters()]
    for name, actual, expected in zip(names, gradients, wanted_gradients, strict=True):
        if "in_proj" in name:
            # The keys' bias has no gradient at all: compare q, k, v together.
            assert error(actual, expected) < tolerance, name
        elif expected.norm() > 1e-9:
            assert error(actual, expected) < tolerance, name


@pytest.mark.parametrize("shape", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda d: str(d).split(".")[1])
def test_forward_and_gradients(dtype, shape):
    compare(shape, dtype, TOLERANCES[dtype])


def test_gradients_of_two_kernels(monkeypatch):
    monkeypatch.setattr(launch, "architecture", lambda device: 80)
    compare(SMALL["cross-B1-C40-T2-Tk3-H9W7"], torch.float64, 1e-12)


@pytest.mark.parametrize("shape", ODD.values(), ids=ODD)
def test_odd_widths_heads_and_times(shape):
    compare(shape, torch.float64, 1e-12)


@pytest.mark.parametrize("tokens", [1, 5 * 32])
def test_max_batch_tokens_changes_the_tile_and_not_the_result(tokens):
    sizes = (1, 16, 5, None, 5, 8)
    block = make_block(16, False, 2, 2)
    inputs = features(torch.float64, *sizes)
    R = torch.randn(inputs[0].shape, dtype=torch.float64)
    programs, results = [], []
    for chunk in (None, Chunking(tokens)):
        block.settings = replace(block.settings, chunk=chunk)
        with count_bytes() as launches:
            results.append(run(block, "triton", inputs, R))
        programs.append(launches[0].programs)
    assert programs == [1, 3 if tokens == 1 else 2], "16 pixels at least, else tokens / T rounded down to a power of 2"
    assert error(results[1][0], results[0][0]) < 1e-14
    assert all(error(a, b) < 1e-13 for a, b in zip(results[1][1], results[0][1], strict=True) if b.norm() > 1e-9)


def test_dropout_repeats_with_its_seed_under_checkpointing():
    block = make_block(8, False, 2, 1, dropout=0.4).train()
    block.settings = replace(block.settings, attn_backend="triton")
    x = features(torch.float64, 1, 8, 3, None, 3, 4)[0]
    runs = []
    for checkpointed in (False, True):
        torch.manual_seed(5)
        out = checkpoint(block, x, use_reentrant=False) if checkpointed else block(x)
        runs.append((out, *torch.autograd.grad(out.square().sum(), [x, *block.parameters()])))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True)), "and the backward is deterministic"
    torch.manual_seed(6)
    assert not torch.equal(block(x), runs[0][0])


def test_dropout_gradients_are_those_of_the_same_mask():
    block = make_block(8, True, 2, 1, dropout=0.4).train()
    inputs = [x.detach().requires_grad_() for x in features(torch.float64, 1, 8, 1, 2, 1, 1)]

    def seeded(*inputs):
        torch.manual_seed(1)
        return block(*inputs)

    block.settings = replace(block.settings, attn_backend="triton")
    assert torch.autograd.gradcheck(seeded, inputs, fast_mode=True)


@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
def test_opcheck(cross):
    block = make_block(8, cross, 2, 1).float()
    inputs = features(torch.float32, 1, 8, 2, 3 if cross else None, 2, 2)
    weights = [p.detach().requires_grad_() for p in block.parameters()]
    args = (inputs[0], inputs[1] if cross else None, weights, 2, 0.0, None, 64, torch.float32, True)
    torch.library.opcheck(fused.forward, args)


def test_channels_last_transposed_and_expanded():
    block = make_block(8, True, 2, 2)
    last = torch.randn(1, 3, 4, 5, 8, dtype=torch.float64).permute(0, 4, 1, 2, 3).requires_grad_()
    turned = torch.randn(1, 8, 2, 5, 4, dtype=torch.float64).transpose(3, 4).requires_grad_()
    R = torch.ones((), dtype=torch.float64).expand(1, 8, 3, 4, 5)
    found, wanted = (run(block, backend, [last, turned], R) for backend in ("triton", "naive"))
    assert error(found[0], wanted[0]) < 1e-12
    assert all(error(a, b) < 1e-12 for a, b in zip(found[1], wanted[1], strict=True) if b.norm() > 1e-9)


def test_autocast_multiplies_in_half_and_returns_the_type_of_x():
    block = make_block(24, False, 4, 2).float()
    x = features(torch.float32, 1, 24, 2, None, 5, 4)[0]
    R = torch.randn_like(x)
    with torch.autocast("cpu", torch.float16):
        out, gradients = run(block, "triton", [x], R)
    wanted, wanted_gradients = run(block.double(), "naive", [x.detach().double().requires_grad_()], R)
    assert out.dtype == torch.float32
    assert 1e-6 < error(out, wanted) < 1e-3
    assert all(g.dtype == torch.float32 for g in gradients)
    assert all(error(a, b) < 2e-3 for a, b in zip(gradients, wanted_gradients, strict=True) if b.norm() > 1e-9)


@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
def test_a_mean_of_many_standard_deviations_costs_no_accuracy_under_autocast(cross):
    block = make_block(24, cross, 4, 2).float()
    inputs = [(x.detach() + 20).requires_grad_() for x in features(torch.float32, 1, 24, 2, 3 if cross else None, 5, 4)]
    R = torch.randn_like(inputs[0])
    found = {}
    for backend in ("triton", "naive"):
        with torch.autocast("cpu", torch.float16):
            found[backend] = run(block, backend, inputs, R)
    exact, exact_gradients = run(block.double(), "naive", [x.detach().double().requires_grad_() for x in inputs], R)

    def errors(out, gradients):
        # What the block adds: x itself is large, and comes through exactly.
        yield error(out - inputs[0], exact - inputs[0])
        yield from (error(a, b) for a, b in zip(gradients, exact_gradients, strict=True) if b.norm() > 1e-9)

    for own, wanted in zip(errors(*found["triton"]), errors(*found["naive"]), strict=True):
        assert own < max(1e-3, 2 * wanted)


@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
def test_compiles_without_a_break(cross):
    block = make_block(8, cross, 2, 1)
    block.settings = replace(block.settings, attn_backend="triton")
    inputs = features(torch.float64, 1, 8, 2, 3 if cross else None, 2, 2)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    leaves = [*inputs, *block.parameters()]
    found, wanted = (torch.autograd.grad(f(*inputs).square().sum(), leaves) for f in (compiled, block))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


UNITS = {  # Tk; forward, the same without gradients, backward, saved: the targets; launches of the backward
    "self": (None, 3.1, 2.1, 20.0, 2.1, 4),
    "cross": (5, 4.1, 3.1, 28.0, 3.1, 5),
}


def moved(launches, unit):
    return sum(k.total(*FEATURES) for k in launches) / unit


@pytest.mark.parametrize("kind", UNITS)
def test_traffic_launches_and_saved_bytes_meet_their_targets(kind, within):
    Tk, forward_units, inference_units, backward_units, saved_units, backward_launches = UNITS[kind]
    block = make_block(96, Tk is not None, 4, 2).half()
    inputs = features(torch.float16, 1, 96, 5, Tk, 8, 8)
    unit = inputs[0].numel() * 2
    block.settings = replace(block.settings, attn_backend="triton")
    with count_bytes() as launches, torch.no_grad():
        block(*inputs)
    assert len(launches) == 1
    within(f"temporal block {kind} forward without gradients, units", moved(launches, unit), inference_units)
    with count_bytes() as launches, count_saved(*block.parameters()) as saved:
        out = block(*inputs)
    assert len(launches) == 1
    within(f"temporal block {kind} forward, units", moved(launches, unit), forward_units)
    within(f"temporal block {kind} saved, units", sum(saved) / unit, saved_units)
    grad = torch.randn_like(out)
    with count_bytes() as launches:
        torch.autograd.grad(out, [*inputs, *block.parameters()], grad)
    assert len(launches) == backward_launches
    within(f"temporal block {kind} backward, units", moved(launches, unit), backward_units)
    assert all(t.atomics == 0 for k in launches for t in k.tensors.values()), "weight gradients are deterministic"


TWO_KERNELS = {"self": (None, 5.1), "cross": (5, 7.1)}


@pytest.mark.parametrize("kind", TWO_KERNELS)
def test_traffic_in_two_kernels(kind, within, monkeypatch):
    monkeypatch.setattr(launch, "architecture", lambda device: 80)
    Tk, units = TWO_KERNELS[kind]
    block = make_block(96, Tk is not None, 4, 2).half()
    inputs = features(torch.float16, 1, 96, 5, Tk, 8, 8)
    block.settings = replace(block.settings, attn_backend="triton")
    with count_bytes() as launches:
        block(*inputs)
    assert len(launches) == 2
    name = f"temporal block {kind} forward in two kernels, units"
    within(name, moved(launches, inputs[0].numel() * 2), units)


@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize("shape", SMALL.values(), ids=SMALL)
def test_forward_without_gradients(shape, architecture, monkeypatch):
    monkeypatch.setattr(launch, "architecture", lambda device: architecture)
    *sizes, heads, ratio = shape
    block = make_block(sizes[1], sizes[3] is not None, heads, ratio)
    inputs = features(torch.float64, *sizes)
    block.settings = replace(block.settings, attn_backend="triton")
    kept = block(*inputs)
    with torch.no_grad():
        assert torch.equal(block(*inputs), kept)
    assert error(kept, run(block, "naive", inputs, torch.ones_like(kept))[0]) < 1e-12


def test_what_cannot_run_raises_a_sentence():
    block = make_block(8, True, 2, 1).float()
    block.settings = replace(block.settings, attn_backend="triton")
    with pytest.raises(BackendError, match="temporal_block: attention backend triton cannot run: T = 9 is above 8"):
        block(*features(torch.float32, 1, 8, 2, 9, 2, 2))

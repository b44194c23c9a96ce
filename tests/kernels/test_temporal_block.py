"""Attention along time and its block: every backend and chunk size against a float64 loop over pixels."""

import pytest
import torch
from torch import nn

from spikevrt.models.temporal import TemporalCrossBlock, TemporalSelfBlock, TimeSettings
from spikevrt_kernels.core import sdpa as sdpa_parts
from spikevrt_kernels.core.backends import BackendError, resolve_backend
from spikevrt_kernels.temporal_attention import temporal_attention
from spikevrt_kernels.temporal_attention.sdpa import temporal_attention_sdpa
from spikevrt_kernels.temporal_block import Chunking, temporal_block
from spikevrt_kernels.temporal_block.chunks import join, tiles
from spikevrt_kernels.window_attention import RelativeBias, window_attention

BACKENDS = ("naive", "sdpa")
WINDOW = (torch.randn(24), RelativeBias(torch.randn(1, 2), (1, 1, 1)), 2, (1, 1, 1), (0, 0, 0), None, "sdpa")
"""Arguments of window attention whose windows are single tokens: as many as a feature map has."""
CHUNKS = {
    "whole": None,
    "square": Chunking(40, 64, "square"),
    "wide": Chunking(40, 64, "wide"),
    "tall": Chunking(40, 64, "tall"),
    "one-pixel": Chunking(1, 1, "square"),
}


def pixel_loop(x, context, block):
    """The block with torch.nn.MultiheadAttention, one pixel at a time: (B,C,T,H,W)."""
    cross = context is not None
    weights = block.attn.attn if cross else block.attn
    C = x.shape[1]
    attention = nn.MultiheadAttention(C, block.settings.heads, batch_first=True, dtype=x.dtype)
    attention.load_state_dict(weights.state_dict())
    out = torch.empty_like(x)
    for h in range(x.shape[3]):
        for w in range(x.shape[4]):
            tokens = x[..., h, w].transpose(1, 2)
            q = (block.ln_q if cross else block.ln1)(tokens)
            kv = block.ln_kv(context[..., h, w].transpose(1, 2)) if cross else q
            y = tokens + attention(q, kv, kv, need_weights=False)[0]
            mlp = block.ffn(block.ln_ffn(y)) if cross else block.mlp(block.ln2(y))
            out[..., h, w] = (y + mlp).transpose(1, 2)
    return out


@pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("T", "Tk"), [(3, None), (5, 3), (2, 7)], ids=["self-T3", "cross-T5-Tk3", "cross-T2-Tk7"])
def test_block_and_all_gradients_equal_a_loop_over_pixels(T, Tk, backend, chunk):
    torch.manual_seed(0)
    kind = TemporalSelfBlock if Tk is None else TemporalCrossBlock
    block = kind(24, TimeSettings(heads=2, attn_backend=backend, chunk=chunk)).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    # Channels last in memory: the op must not rely on strides.
    x = torch.randn(2, T, 7, 5, 24, dtype=torch.float64).permute(0, 4, 1, 2, 3).requires_grad_()
    args = [x] if Tk is None else [x, torch.randn(2, 24, Tk, 7, 5, dtype=torch.float64, requires_grad=True)]
    leaves = [*args, *block.parameters()]
    reference = pixel_loop(x, args[1] if Tk else None, block)
    out = block(*args)
    assert (out - reference).abs().max() < 1e-12
    R = torch.randn_like(out)
    wanted = torch.autograd.grad((reference * R).sum(), args)
    found = torch.autograd.grad((out * R).sum(), leaves)
    for actual, expected in zip(found, wanted, strict=False):
        assert (actual - expected).abs().max() < 1e-11
    assert all(g.abs().max() > 0 for g in found)


@pytest.mark.parametrize("shape", ["square", "wide", "tall"])
@pytest.mark.parametrize(("batch", "tokens", "size"), [(1, 49152, 64), (2, 100, 8), (3, 7, 64), (8, 4, 4)])
def test_chunks_hold_at_most_what_the_keys_allow_and_cover_the_map(shape, batch, tokens, size):
    chunking = Chunking(tokens, size, shape)
    h, w = chunking.tile(batch, 50, 70)
    assert 1 <= h * w <= max(1, min(size**2, tokens // batch))
    x = torch.arange(50 * 70).view(50, 70)
    rows = tiles(h, w, x, -x)
    assert all(part.numel() <= chunking.pixels(batch) for row in rows for part, _ in row)
    assert all(torch.equal(part, -other) for row in rows for part, other in row)
    assert torch.equal(join([join([part for part, _ in row], -1) for row in rows], -2), x)
    if shape == "wide":
        assert w == min(70, chunking.pixels(batch))
    if shape == "tall":
        assert h == min(50, chunking.pixels(batch))


def test_sequences_are_split_below_what_cuda_takes(monkeypatch):
    """The loop that CUDA needs, shown on the CPU: any split gives the same numbers."""
    q, k, v = torch.randn(3, 1, 8, 3, 9, 7, dtype=torch.float64)
    whole = temporal_attention_sdpa(q, k, v, 2)
    windows = window_attention(torch.cat((q, k, v), 1).movedim(1, -1), *WINDOW)
    calls = []
    attend = sdpa_parts.F.scaled_dot_product_attention

    def counted(q, *args, **kwargs):
        calls.append(q.shape[0])
        return attend(q, *args, **kwargs)

    monkeypatch.setattr(sdpa_parts, "split_size", lambda q: 40 // q.shape[1])
    monkeypatch.setattr(sdpa_parts.F, "scaled_dot_product_attention", counted)
    parts = temporal_attention_sdpa(q, k, v, 2)
    assert max(calls) <= 20
    assert len(calls) == 4
    assert torch.equal(whole, parts)
    assert torch.equal(windows, window_attention(torch.cat((q, k, v), 1).movedim(1, -1), *WINDOW))
    assert max(calls) <= 20
    assert len(calls) > 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_is_on_the_probabilities_and_repeats_with_its_seed(backend):
    q, k, v = torch.randn(3, 1, 8, 4, 6, 6)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(temporal_attention(q, k, v, 2, dropout_p=0.5, backend=backend))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    torch.manual_seed(0)
    mean = torch.stack([temporal_attention(q, k, v, 2, 0.3, backend) for _ in range(800)]).mean(0)
    assert (mean - temporal_attention(q, k, v, 2, backend=backend)).abs().mean() < 0.03


def test_backends():
    assert resolve_backend("auto") == "sdpa"
    with pytest.raises(BackendError, match="triton cannot run: "):
        resolve_backend("triton")
    with pytest.raises(BackendError, match="unknown; choose one of"):
        resolve_backend("flash")
    with pytest.raises(BackendError):
        temporal_block(torch.zeros(1, 8, 2, 2, 2), None, None, 2, backend="triton")  # type: ignore[arg-type]

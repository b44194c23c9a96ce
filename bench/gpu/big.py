"""Clips above 2^31 elements: the last one is, bit for bit, what it is alone."""

from collections.abc import Iterator

import torch

from bench.gpu.rows import ReportRow
from bench.gpu.setting import Setting
from spikevrt_kernels.temporal_attention import temporal_attention
from spikevrt_kernels.window_attention import RelativeBias, window_attention

LIMIT = 2**31
FRAMES_SHAPE, DRY_FRAMES_SHAPE = (22, 96, 7, 384, 384), (3, 8, 2, 8, 8)
"""(B,C,T,H,W) of attention along time."""
WINDOW_SHAPE, DRY_WINDOW_SHAPE = (2, 6, 800, 800, 288), (2, 2, 16, 16, 288)
"""(B,D,H,W,3C) of window attention."""
HEADS = 6


def same(setting: Setting) -> Iterator[ReportRow]:
    """Both operators."""
    yield along_time(setting)
    yield in_windows(setting)


def drawn(setting: Setting, shape: tuple[int, ...]) -> torch.Tensor:
    """Random features in the type that trains."""
    return torch.randn(shape, device=setting.device, dtype=setting.half or torch.float32)


def along_time(setting: Setting) -> ReportRow:
    """Attention along time, forward."""
    x = drawn(setting, DRY_FRAMES_SHAPE if setting.dry else FRAMES_SHAPE)

    def attend(part: torch.Tensor) -> torch.Tensor:
        return temporal_attention(part, part, part, 4, 0.0, setting.backend("triton"))

    return said("temporal_attention, forward", x, torch.equal(attend(x)[-1:], attend(x[-1:].clone())))


def in_windows(setting: Setting) -> ReportRow:
    """Shifted window attention, forward and backward."""
    qkv = drawn(setting, DRY_WINDOW_SHAPE if setting.dry else WINDOW_SHAPE)
    window, shift = (qkv.shape[1], 8, 8), (0, 4, 4)
    offset = torch.randn(qkv.shape[-1], device=setting.device)
    table = torch.randn((2 * window[0] - 1) * 15 * 15, HEADS, device=setting.device)

    def attend(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        leaf, bias = part.requires_grad_(), RelativeBias(table, window)
        out = window_attention(leaf, offset, bias, HEADS, window, shift, None, setting.backend("triton"))
        return out.detach(), torch.autograd.grad(out, leaf, out.detach())[0]

    whole, alone = attend(qkv), attend(qkv[-1:].detach().clone())
    equal = all(torch.equal(a[-1:], b) for a, b in zip(whole, alone, strict=True))
    return said("window_attention, forward and backward", qkv, equal)


def said(what: str, x: torch.Tensor, equal: bool) -> ReportRow:
    """Whether the bits are the same."""
    text = f"{what}, {x.numel() / LIMIT:.2f} x 2^31 elements: the last clip is the same as alone: {equal}"
    return ReportRow("note", text, bad=not equal, keep=True)

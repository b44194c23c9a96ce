"""One call of window attention as a record, which every backend takes."""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.window_attention.relative_bias import RelativeBias
from spikevrt_kernels.window_attention.windows import Cut, Size3, window_counts


class Call(NamedTuple):
    """The arguments of `window_attention`, and values that follow from them."""

    qkv: Tensor
    """(B,D,H,W,3C), or 6C with mutual attention."""
    offset: Tensor
    """(3C,) bias of the self-attention projection."""
    bias: RelativeBias
    """Bias table ((2wd-1)(2wh-1)(2ww-1),heads) of the configured window."""
    heads: int
    window: Size3
    shift: Size3
    mutual_offset: Tensor | None = None
    """(n,3C) for the n = h*w places of a frame, or None without mutual attention."""
    target: int | None = None
    """Architecture whose tile sizes are used (90 for sm_90); None = that of the device."""
    added: bool = False
    """Whether the tokens of qkv hold the offsets already; padding, which is not in qkv, still gets them."""

    @property
    def mutual(self) -> bool:
        """Whether the two frames of a window attend each other, in addition to self-attention."""
        return self.mutual_offset is not None

    @property
    def cut(self) -> Cut:
        """How the feature map is divided into windows."""
        return Cut(self.heads, self.window, self.shift, self.mutual, self.added)

    @property
    def acc(self) -> torch.dtype:
        """Type of sums and softmax."""
        return accumulation_dtype(self.qkv.dtype)

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return self.offset.shape[0] // 3

    @property
    def size(self) -> Size3:
        """(D,H,W)."""
        _, D, H, W, _ = self.qkv.shape
        return D, H, W

    @property
    def windows(self) -> int:
        """Number of windows in the whole batch, including those with padding."""
        return self.qkv.shape[0] * prod(window_counts(self.size, self.window))

    def tokens(self, mutual: bool) -> int:
        """Number of tokens that attend each other: those of a window, or (mutual) of one of its frames."""
        return prod(self.window[1:] if mutual else self.window)

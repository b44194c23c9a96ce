"""The relative-position bias of a window: one row of a table for every offset between two tokens (Swin)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from spikevrt_kernels.window_attention.windows import Size3


def relative_position_index(window: Size3, device: torch.device | None = None) -> Tensor:
    """(N,N) int64 row of the bias table for every pair of tokens of a window (Swin, Liu et al. 2021)."""
    axes = torch.meshgrid(*(torch.arange(s, device=device) for s in window), indexing="ij")
    place = torch.stack(axes).flatten(1)  # (3,N)
    d, h, w = place[:, :, None] - place[:, None, :]
    wd, wh, ww = window
    return ((d + wd - 1) * (2 * wh - 1) + (h + wh - 1)) * (2 * ww - 1) + (w + ww - 1)


class KeptBias:
    """The bias gathered last, for as long as the table holds the same values.

    Values are compared (some 10 us on a CPU), since a version counter misses what is written through `.data`. On
    other devices comparing costs more than gathering. Copies and files of it are empty.
    """

    def __init__(self) -> None:
        self.table: Tensor | None = None
        self.bias: Tensor | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return KeptBias, ()

    def fits(self, table: Tensor, tokens: int) -> bool:
        """Whether `bias` is what `table` (rows,heads) gives for windows of `tokens` tokens."""
        if self.table is None or self.bias is None or self.bias.shape[-1] != tokens:
            return False
        return self.table.dtype == table.dtype and torch.equal(self.table, table)

    def keep(self, table: Tensor, bias: Tensor) -> None:
        """Remember the bias of `table`, whose values may change in place."""
        self.table, self.bias = table.clone(), bias


class RelativeBias(NamedTuple):
    """A table of biases, and the window that it was made for."""

    table: Tensor
    """((2wd-1)(2wh-1)(2ww-1),heads), rows ordered by the offset (d,h,w) of the query from the key, each from its
    lowest."""
    window: Size3
    """(wd,wh,ww), as configured: windows that shrank on a short extent use the same table."""
    kept: KeptBias | None = None
    """Where `gathered_once` keeps what it gathered."""

    def gathered(self, tokens: int) -> Tensor:
        """(heads,tokens,tokens) bias; a shrunken window takes the top-left block of the configured one's.

        That is its own bias where only d shrank, and what the published weights were trained with elsewhere.
        """
        index = relative_position_index(self.window, self.table.device)[:tokens, :tokens]
        return self.table[index.reshape(-1)].view(tokens, tokens, -1).permute(2, 0, 1)

    def gathered_once(self, tokens: int) -> Tensor:
        """As `gathered`, contiguous, and gathered again only where the table has changed (on a CPU)."""
        if torch.compiler.is_compiling():
            return self.gathered(tokens).contiguous()
        return GatherOnce.apply(self.table, self, tokens)


class GatherOnce(torch.autograd.Function):
    """table (rows,heads) -> (heads,tokens,tokens); the gradient's sums have a fixed order on every device."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, bias: RelativeBias, tokens: int) -> Tensor:
        ctx.window = bias.window
        # Tensors without values (of a memory plan, of another device) are not for comparing.
        plain = type(table.detach()) is Tensor and table.device.type == "cpu"
        kept = bias.kept if plain else None
        if kept is not None and kept.bias is not None and kept.fits(table, tokens):
            return kept.bias.view(kept.bias.shape)
        found = RelativeBias(table, bias.window).gathered(tokens).contiguous()
        if kept is not None:
            kept.keep(table, found)
        return found.view(found.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return table_gradient(grad, ctx.window), None, None


def table_gradient(grad: Tensor, window: Size3) -> Tensor:
    """Sum of a gradient (heads,N,N) over the pairs of equal offset: (rows,heads)."""
    heads, tokens, _ = grad.shape
    wd, wh, ww = window
    missing = wd * wh * ww - tokens
    x = F.pad(grad, (0, missing, 0, missing)).view(heads, wd, wh, ww, wd, wh, ww)
    for axis in range(3):
        # (...,i,j) of one axis -> (...,i-j) at the end; the two other pairs of axes move on.
        x = sum_diagonals(x.movedim((1, 4 - axis), (-2, -1)))
    return x.flatten(1).t().contiguous()


def sum_diagonals(x: Tensor) -> Tensor:
    """(...,w,w) -> (...,2w-1): sums over i - j = 1-w .. w-1."""
    w = x.shape[-1]
    # Rows of 2w cut again into rows of 2w-1 move each row one further to the right.
    rows = F.pad(x.flip(-1), (0, w)).flatten(-2)[..., : w * (2 * w - 1)]
    return rows.unflatten(-1, (w, 2 * w - 1)).sum(-2)

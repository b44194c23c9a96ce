"""The relative-position bias of a window: a table with one row per offset between two tokens (Swin)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from spikevrt_kernels.window_attention.windows import Size3


def relative_position_index(window: Size3, device: torch.device | None = None) -> Tensor:
    """(N,N) int64 row of the bias table for every pair of a window's tokens (Swin, Liu et al. 2021)."""
    axes = torch.meshgrid(*(torch.arange(s, device=device) for s in window), indexing="ij")
    place = torch.stack(axes).flatten(1)  # (3,N)
    d, h, w = place[:, :, None] - place[:, None, :]
    wd, wh, ww = window
    return ((d + wd - 1) * (2 * wh - 1) + (h + wh - 1)) * (2 * ww - 1) + (w + ww - 1)


class KeptBias:
    """Keeps the last gathered bias for as long as the table holds the same values.

    The values are compared (some 10 us on a CPU), since a version counter does not notice writes through `.data`. On
    other devices comparing costs more than gathering. Copying or pickling an instance gives an empty one.
    """

    def __init__(self) -> None:
        self.table: Tensor | None = None
        self.bias: Tensor | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return KeptBias, ()

    def fits(self, table: Tensor, tokens: int) -> bool:
        """Whether `bias` is the bias of `table` (rows,heads) for windows of `tokens` tokens."""
        if self.table is None or self.bias is None or self.bias.shape[-1] != tokens:
            return False
        return self.table.dtype == table.dtype and torch.equal(self.table, table)

    def keep(self, table: Tensor, bias: Tensor) -> None:
        """Keep the bias of `table`, whose values may change in place later."""
        self.table, self.bias = table.clone(), bias


class RelativeBias(NamedTuple):
    """A bias table, and the window that it was made for."""

    table: Tensor
    """((2wd-1)(2wh-1)(2ww-1),heads); rows are ordered by the offset (d,h,w) from key to query, each from its lowest
    value."""
    window: Size3
    """(wd,wh,ww) as configured; a window that shrank because the map is small uses the same table."""
    kept: KeptBias | None = None
    """Where `gathered_once` stores the bias."""

    def gathered(self, tokens: int) -> Tensor:
        """(heads,tokens,tokens) bias; a smaller window uses the top-left block of the configured window's bias.

        This is exact if only d shrank; in other cases it is how the published weights were trained.
        """
        index = relative_position_index(self.window, self.table.device)[:tokens, :tokens]
        return self.table[index.reshape(-1)].view(tokens, tokens, -1).permute(2, 0, 1)

    def gathered_once(self, tokens: int) -> Tensor:
        """Like `gathered`, but contiguous, and on a CPU gathered again only if the table has changed."""
        if torch.compiler.is_compiling():
            return self.gathered(tokens).contiguous()
        return GatherOnce.apply(self.table, self, tokens)


class GatherOnce(torch.autograd.Function):
    """table (rows,heads) -> (heads,tokens,tokens); its gradient is summed in a fixed order on every device."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, bias: RelativeBias, tokens: int) -> Tensor:
        ctx.window = bias.window
        # Tensors without values (in a memory plan, on the meta device) cannot be compared.
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
    """Sum a gradient (heads,N,N) over pairs of equal offset: (rows,heads)."""
    heads, tokens, _ = grad.shape
    wd, wh, ww = window
    missing = wd * wh * ww - tokens
    x = F.pad(grad, (0, missing, 0, missing)).view(heads, wd, wh, ww, wd, wh, ww)
    for axis in range(3):
        # One axis: (...,i,j) -> (...,i-j) at the end; the other two pairs of axes move forward.
        x = sum_diagonals(x.movedim((1, 4 - axis), (-2, -1)))
    return x.flatten(1).t().contiguous()


def sum_diagonals(x: Tensor) -> Tensor:
    """(...,w,w) -> (...,2w-1): sums over the diagonals i - j = 1-w .. w-1."""
    w = x.shape[-1]
    # Cutting rows of 2w into rows of 2w-1 shifts each row by one more place to the right.
    rows = F.pad(x.flip(-1), (0, w)).flatten(-2)[..., : w * (2 * w - 1)]
    return rows.unflatten(-1, (w, 2 * w - 1)).sum(-2)

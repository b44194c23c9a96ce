"""The relative-position bias of a window: one row of a table for every offset between two tokens (Swin)."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.window_attention.windows import Size3


def relative_position_index(window: Size3, device: torch.device | None = None) -> Tensor:
    """(N,N) int64 row of the bias table for every pair of tokens of a window (Swin, Liu et al. 2021)."""
    axes = torch.meshgrid(*(torch.arange(s, device=device) for s in window), indexing="ij")
    place = torch.stack(axes).flatten(1)  # (3,N)
    d, h, w = place[:, :, None] - place[:, None, :]
    wd, wh, ww = window
    return ((d + wd - 1) * (2 * wh - 1) + (h + wh - 1)) * (2 * ww - 1) + (w + ww - 1)


class RelativeBias(NamedTuple):
    """A table of biases, and the window that it was made for."""

    table: Tensor
    """((2wd-1)(2wh-1)(2ww-1),heads), rows ordered by the offset (d,h,w) of the query from the key, each from its
    lowest."""
    window: Size3
    """(wd,wh,ww), as configured: windows that shrank on a short extent use the same table."""

    def gathered(self, tokens: int) -> Tensor:
        """(heads,tokens,tokens) bias; a shrunken window takes the top-left block of the configured one's.

        That is its own bias where only d shrank, and what the published weights were trained with elsewhere.
        """
        index = relative_position_index(self.window, self.table.device)[:tokens, :tokens]
        return self.table[index.reshape(-1)].view(tokens, tokens, -1).permute(2, 0, 1)

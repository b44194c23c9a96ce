"""How layers that add a correction start."""

import torch
from torch import nn

SMALL = 0.01


def start_small(layer: nn.Module) -> None:
    """A hundredth of the usual weights and no bias: a fresh model need not first unlearn a random correction."""
    assert isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.Linear))
    with torch.no_grad():
        layer.weight.mul_(SMALL)
        if layer.bias is not None:
            layer.bias.zero_()

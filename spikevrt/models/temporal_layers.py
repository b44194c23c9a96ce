"""What self- and cross-attention along time share: parameters under the published names."""

import torch
from torch import Tensor, nn

from spikevrt.config import TemporalAttnConfig
from spikevrt_kernels.temporal_block import Chunking

Pair = tuple[Tensor, Tensor]


class AttentionWeights(nn.Module):
    """The four tensors of `torch.nn.MultiheadAttention`, with its names and its initialisation."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)


def affine(layer: nn.Linear | nn.LayerNorm) -> Pair:
    """Weight and bias of a layer that has both."""
    return layer.weight, layer.bias


def make_mlp(dim: int, ratio: float) -> nn.Sequential:
    """dim -> ratio * dim -> dim with exact GELU; `0` and `2` hold the parameters."""
    hidden = int(dim * ratio)
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))


def chunking(section: TemporalAttnConfig) -> Chunking | None:
    """The chunks that a section asks for; ADAPTIVE_CHUNK false = none."""
    if not section.adaptive_chunk:
        return None
    return Chunking(section.max_batch_tokens, section.chunk_size, section.chunk_shape)

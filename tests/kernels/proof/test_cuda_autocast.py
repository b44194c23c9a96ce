"""The casts of CUDA's autocast, on tensors without storage."""

import torch
from torch import nn
from torch.nn import functional as F

from spikevrt_kernels.proof import cuda_autocast as rules
from spikevrt_kernels.proof.cuda_autocast import CPU_KEY, CUDA_KEY, cuda_autocast, operators_with
from spikevrt_kernels.proof.memory import predicted_peak, without_storage
from spikevrt_kernels.proof.operator_counter import count_operators

BF16, FLOAT32 = torch.bfloat16, torch.float32
PIXELS, C = 1000, 96


def norm_and_products():
    """A norm of half features with two consumers, as a pre-norm GEGLU block has them."""
    norm, products = nn.LayerNorm(C), [nn.Linear(C, C, bias=False) for _ in range(2)]
    x = torch.zeros(PIXELS, C, dtype=BF16)

    def step():
        with torch.no_grad(), torch.autocast("cpu", BF16):
            z = norm(x)
            return z, [product(z) for product in products]

    return step


def test_a_norm_of_half_features_runs_in_float32_and_is_cast_back_for_every_consumer():
    with without_storage(for_cuda=True):
        step = norm_and_products()
        with count_operators() as traffic:
            z, outs = step()
    assert z.dtype == FLOAT32
    assert [out.dtype for out in outs] == [BF16, BF16]
    features, weight = PIXELS * C, C * C
    # x up, z down twice, and both weights down: each reads one type and writes the other.
    assert traffic.by_operator["aten::_to_copy"] == (2 + 4) * (3 * features + 2 * weight)
    statistics = 2 * 4 * PIXELS
    assert traffic.by_operator["aten::native_layer_norm"] == 4 * (2 * features + 2 * C) + statistics


def test_the_peak_holds_float32_norms_too():
    on_cpu, on_cuda = (predicted_peak(norm_and_products, for_cuda=for_cuda) for for_cuda in (False, True))
    # At the second product: x, z, its copy, both results, instead of x, z and both results.
    assert on_cuda - on_cpu > 2 * PIXELS * C


def test_every_rule_of_cuda_is_known():
    known = rules.LOWER | rules.FLOAT32 | rules.FLOAT32_OUT | rules.WIDEST
    assert operators_with(CUDA_KEY) - known == {"binary_cross_entropy"}, "which CUDA's autocast refuses"


def test_types_follow_cuda_s_rules():
    half, full = torch.zeros(1, 4, 8, 8, dtype=BF16), torch.zeros(1, 4, 8, 8)
    grid, weight = torch.zeros(1, 8, 8, 2), torch.zeros(8, 8)
    with cuda_autocast(), torch.autocast("cpu", BF16):
        assert F.softmax(half, -1).dtype == FLOAT32
        assert half.softmax(-1, BF16).dtype == BF16, "a type that the caller names stays"
        assert half.sum().dtype == half.sum((2, 3)).dtype == FLOAT32
        assert (half**2).dtype == F.interpolate(half, scale_factor=2).dtype == FLOAT32
        assert F.grid_sample(half, grid, align_corners=True).dtype == FLOAT32, "the widest of its inputs"
        assert (full @ weight).dtype == torch.einsum("bchw,wk->bchk", full, weight).dtype == BF16
        assert F.gelu(half).dtype == torch.cat((half, half)).dtype == BF16
        with count_operators() as traffic:
            assert torch.cat((half, full)).dtype == FLOAT32
        assert traffic.by_operator.keys() == {"aten::cat"}, "CUDA's cat casts by itself"
        assert half.double().exp().dtype == torch.float64


def test_afterwards_the_cpu_s_own_rules_are_back():
    before = operators_with(CPU_KEY)
    with cuda_autocast():
        assert operators_with(CPU_KEY) != before
    assert operators_with(CPU_KEY) == before
    with torch.autocast("cpu", BF16):
        assert F.layer_norm(torch.zeros(2, 4, dtype=BF16), (4,)).dtype == BF16

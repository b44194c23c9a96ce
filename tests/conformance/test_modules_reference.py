"""Single modules against numbers of the published modules, in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spikevrt.models.vrt.parallel_warping import DCNv2PackFlowGuided
from spikevrt.models.vrt.spynet import SpyNet
from spikevrt.models.vrt.stage import make_reshape
from spikevrt.models.vrt.window_block import (
    GEGLU,
    TMSAG,
    BlockSettings,
    WindowAttention,
    sine_position_bias,
)
from spikevrt_kernels.flow_warp import flow_warp
from spikevrt_kernels.window_attention import relative_position_index
from spikevrt_kernels.window_attention.windows import partition, shift_regions, unpartition
from tests.interpreting import CONFORMANT

TOLERANCE = 1e-12


@pytest.fixture(scope="session")
def arrays(conformance_dir):
    return dict(np.load(conformance_dir / "modules.npz"))


@pytest.fixture(scope="session")
def fill(conformance_dir):
    return weights_of(conformance_dir)


def weights_of(folder):
    """A function that gives a module the reference weights of its names under a prefix."""
    namespace: dict = {}
    exec((folder / "weights_rule.py").read_text(), namespace)

    def apply(module, prefix):
        for name, parameter in module.named_parameters():
            parameter.data = torch.from_numpy(namespace["make_param"](prefix + name, tuple(parameter.shape)))
        return module.double().eval()

    return apply


def worst(actual: Tensor, expected: np.ndarray) -> float:
    assert actual.shape == expected.shape
    return float((actual - torch.from_numpy(expected)).abs().max())


def test_flow_warp(arrays, within):
    x = torch.from_numpy(arrays["flow_warp.x"])
    flow = torch.from_numpy(arrays["flow_warp.flow_nhw2"]).permute(0, 3, 1, 2)
    for mode, padding in (("bilinear", "zeros"), ("bilinear", "border"), ("nearest4", "zeros")):
        error = worst(flow_warp(x, flow, mode, padding), arrays[f"flow_warp.{mode}_{padding}"])
        within(f"modules flow_warp {mode} {padding}", error, TOLERANCE)


def test_position_tables(arrays):
    for size, channels in ((8, 96), (4, 16)):
        expected = arrays[f"posbias.{size}x{size}_C{channels}"]
        assert np.abs(sine_position_bias(size, size, channels).numpy() - expected).max() <= 1e-7
        index = relative_position_index((2, size, size))
        assert np.array_equal(index.numpy(), arrays[f"relindex.2x{size}x{size}"])


def test_regions_give_the_published_masks(arrays):
    keys = [key for key in arrays if key.startswith("mask.")]
    assert len(keys) == 6
    for key in keys:
        sizes = [
            tuple(int(s) for s in part.lstrip("wsDH").replace("H", "x").replace("W", "x").split("x"))
            for part in key.removeprefix("mask.").split("_")
        ]
        ids = shift_regions(*sizes, torch.device("cpu")).ids.flatten(0, 2)
        assert np.array_equal((ids[:, :, None] != ids[:, None, :]).numpy(), arrays[key].astype(bool)), key


WINDOWS = {
    "wa_mut.nomask": ("wa_mut", (2, 4, 4), (4, 8, 8), (0, 0, 0)),
    "wa_mut.mask_D4H8W8_ws2x4x4_ss1x2x2": ("wa_mut", (2, 4, 4), (4, 8, 8), (1, 2, 2)),
    "wa_self.nomask": ("wa_self", (6, 4, 4), (6, 8, 8), (0, 0, 0)),
    "wa_self.mask_D6H8W8_ws6x4x4_ss0x2x2": ("wa_self", (6, 4, 4), (6, 8, 8), (0, 2, 2)),
}


def window_error(key, backend, arrays, fill):
    """Worst error of the attention of one case of WINDOWS."""
    name, window, size, shift = WINDOWS[key]
    module = fill(WindowAttention(16, window, 2, name == "wa_mut", attn_backend=backend), f"{name}.")
    counts = [s // w for s, w in zip(size, window, strict=True)]
    tokens = torch.from_numpy(arrays[f"{name}.x"]).view(1, *counts, -1, 16)
    # The reference sees windows that were cut after the shift.
    out = module(unpartition(tokens, size, window, shift), window, shift)
    return worst(partition(out, window, shift).flatten(0, 3), arrays[key])


@pytest.mark.parametrize("backend", CONFORMANT)
@pytest.mark.parametrize("key", WINDOWS)
def test_window_attention(key, backend, arrays, fill, within):
    within(f"modules {key} {backend}", window_error(key, backend, arrays, fill), TOLERANCE)


GROUPS = {
    "tmsag_mut_T5": ((2, 4, 4), True),
    "tmsag_self_T5w6": ((6, 4, 4), False),
    "tmsag_self_T7w6": ((6, 4, 4), False),
    "tmsag_self_T1w1": ((1, 4, 4), False),
    "tmsag_self_smallHW": ((6, 8, 8), False),
}


def group_error(name, backend, arrays, fill):
    """Worst error of one case of GROUPS."""
    window, mutual = GROUPS[name]
    group = fill(TMSAG(16, [0.0, 0.0], window, mutual, BlockSettings(2, attn_backend=backend)), f"{name}.")
    x = torch.from_numpy(arrays[f"{name}.x"])
    out = group(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)
    return worst(out, arrays[f"{name}.out"])


@pytest.mark.parametrize("backend", CONFORMANT)
@pytest.mark.parametrize("name", GROUPS)
def test_attention_groups(name, backend, arrays, fill, within):
    within(f"modules {name} {backend}", group_error(name, backend, arrays, fill), TOLERANCE)


def test_deformable_alignment(arrays, fill, within):
    module = fill(DCNv2PackFlowGuided(16, 4, 10), "dcn.")
    x, warped, current, flow = (torch.from_numpy(arrays[f"dcn.{n}"]) for n in ("x", "x_warped", "x_current", "flow"))
    within("modules dcn", worst(module(x, warped, current, flow), arrays["dcn.out"]), TOLERANCE)


def test_geglu(arrays, fill, within):
    module = fill(GEGLU(16, 32), "geglu.")
    out = module(torch.from_numpy(arrays["geglu.x"]))
    within("modules geglu", worst(out, arrays["geglu.out"]), TOLERANCE)


def test_spynet(arrays, fill, within):
    spynet = fill(SpyNet(), "spynet.")
    flows = spynet(torch.from_numpy(arrays["spynet.ref"]), torch.from_numpy(arrays["spynet.supp"]))
    error = max(worst(flow, arrays[f"spynet.flow{s}"]) for s, flow in enumerate(flows))
    within("modules spynet", error, TOLERANCE)


@pytest.mark.parametrize("kind", ["none", "down", "up"])
def test_reshape(kind, arrays, fill, within):
    x = torch.from_numpy(arrays[f"reshape_{kind}.x"])
    module = fill(make_reshape(kind, x.shape[1], arrays[f"reshape_{kind}.out"].shape[1]), f"reshape_{kind}.")
    within(f"modules reshape {kind}", worst(module(x), arrays[f"reshape_{kind}.out"]), TOLERANCE)

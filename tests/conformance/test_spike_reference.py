"""The spike branch against numbers computed from its equations in float64."""

import ast
import zlib

import numpy as np
import pytest
import torch

from spikevrt.models import MultiScaleTemporalCrossAttnFuse, SpikeEncoder3D, SpikeTemporalSA
from tests.interpreting import CONFORMANT


def weight(name: str, shape: torch.Size) -> torch.Tensor:
    n = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(shape))
    if ".ln" in name and name.endswith("weight"):
        n = 1 + 0.1 * n
    elif len(shape) == 1:
        n = 0.1 * n
    else:
        n = n / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(n)


def fill(module, prefix, dtype):
    for name, parameter in module.named_parameters():
        parameter.data = weight(f"{prefix}.{name}", parameter.shape).to(dtype)
    return module.eval()


def branch_errors(backend, dtype, folder):
    """Largest relative error of the encoder, of self-attention and of the fusion over the four scales."""
    arrays = np.load(folder / "spike_odd.npz")
    meta = ast.literal_eval(str(arrays["meta"]))
    encoder = fill(SpikeEncoder3D(meta["K"], meta["chans"], meta["tstr"], meta["sstr"]), "spike_encoder", dtype)
    args = {"heads": meta["heads"], "mlp_ratio": meta["ratio"], "attn_backend": backend}
    attention = fill(SpikeTemporalSA(meta["chans"], **args), "spike_temporal_sa", dtype)
    fusion = fill(MultiScaleTemporalCrossAttnFuse(meta["chans"], **args), "cross_attn_fuse", dtype)
    with torch.no_grad():
        encoded = encoder(torch.from_numpy(arrays["vox"]).to(dtype))
        attended = attention(encoded)
        fused = [fusion(torch.from_numpy(arrays[f"rgb{i}"]).to(dtype), attended[i], i) for i in range(len(attended))]
    errors = {}
    for kind, found in (("enc", encoded), ("tsa", attended), ("fuse", fused)):
        wanted = [torch.from_numpy(arrays[f"{kind}{i}"]).double() for i in range(len(found))]
        errors[kind] = max(float((a.double() - w).norm() / w.norm()) for a, w in zip(found, wanted, strict=True))
    return errors


@pytest.mark.parametrize("backend", CONFORMANT)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 2e-5)], ids=str)
def test_spike_branch(dtype, tolerance, backend, conformance_dir, within):
    for kind, error in branch_errors(backend, dtype, conformance_dir).items():
        within(f"spike_odd {kind} {backend} {str(dtype).split('.')[1]}", error, tolerance)

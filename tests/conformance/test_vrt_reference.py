"""VRT against the published one: outputs and gradients of small models, and the state of both configurations."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikevrt.config import load_config
from spikevrt.data.files.images import read_image, write_png
from spikevrt.deblur import main as deblur
from spikevrt.models import VRT, VRTWithSpike, build_model
from spikevrt.restoration.comparison import to_bytes
from tests.interpreting import CONFORMANT

OFFICIAL = {
    "upscale": 1,
    "img_size": [6, 192, 192],
    "window_size": [6, 8, 8],
    "depths": [8] * 7 + [4] * 4,
    "indep_reconsts": [9, 10],
    "embed_dims": [96] * 7 + [120] * 4,
    "num_heads": [6] * 11,
    "pa_frames": 2,
    "deformable_groups": 16,
}


@pytest.fixture(scope="session")
def rule(conformance_dir: Path):
    """The weight rule that ships with the reference data."""
    namespace: dict = {}
    exec((conformance_dir / "weights_rule.py").read_text(), namespace)
    return namespace


def fill(model: nn.Module, rule: dict, prefix: str = "") -> nn.Module:
    for name, parameter in model.named_parameters():
        parameter.data = torch.from_numpy(rule["make_param"](prefix + name, tuple(parameter.shape)))
    return model.eval()


def worst(actual: Tensor, expected: np.ndarray) -> float:
    return float((actual.double() - torch.from_numpy(expected).double()).abs().max())


def excess(actual: Tensor, expected: np.ndarray) -> float:
    """Largest |a-b| over its allowance 6e-8 |b| + 1e-9, for arrays stored as float32 of a float64 run."""
    wanted = torch.from_numpy(expected).double()
    return float(((actual.double() - wanted).abs() / (6e-8 * wanted.abs() + 1e-9)).max())


def run_with_stages(model: VRT, x: Tensor) -> dict[str, Tensor]:
    """The output and every intermediate that the reference stores."""
    found: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda module, args, out: found.__setitem__(name, out)

    names = {f"stage{i}": f"stage{i}" for i in range(1, 8)}
    names |= {f"stage8.{i}": f"stage8_{i}" for i in range(len(model.stage8))}
    names |= {"conv_first": "conv_first", "norm": "norm_ndhwc"}
    handles = [model.get_submodule(n).register_forward_hook(keep(k)) for n, k in names.items()]
    handles.append(
        model.conv_first.register_forward_pre_hook(lambda m, args: found.__setitem__("conv_first_in", args[0]))
    )
    with torch.no_grad():
        found["out"] = model(x)
        backward, forward = model.flows(x)
    for handle in handles:
        handle.remove()
    for s in range(4):
        found[f"flow_b{s}"], found[f"flow_f{s}"] = backward[s], forward[s]
    return found


@pytest.mark.parametrize("backend", CONFORMANT)
@pytest.mark.parametrize("name", ["tiny_a", "tiny_c"])
def test_float64_run_equals_the_reference(name, backend, conformance_dir, rule, within):
    spec = json.loads((conformance_dir / f"{name}.json").read_text())
    arrays = np.load(conformance_dir / f"{name}.npz")
    model = fill(VRT(**spec["config"], attn_backend=backend), rule).double()
    found = run_with_stages(model, torch.from_numpy(arrays["input"]).double())
    within(f"{name} float64 {backend} out", worst(found.pop("out"), arrays["out_f64"]), 1e-9)
    stored = [key for key in found if key in arrays.files]
    assert len(stored) >= 8 + 7 + 4
    within(
        f"{name} float64 {backend} all {len(stored)} intermediates (share of 6e-8|b| + 1e-9)",
        max(excess(found[key], arrays[key]) for key in stored),
        1.0,
    )


@pytest.mark.parametrize("backend", CONFORMANT)
@pytest.mark.parametrize("name", ["tiny_a", "tiny_c"])
def test_float32_run_stays_near_the_float64_reference(name, backend, conformance_dir, rule, within):
    spec = json.loads((conformance_dir / f"{name}.json").read_text())
    arrays = np.load(conformance_dir / f"{name}.npz")
    model = fill(VRT(**spec["config"], attn_backend=backend), rule)
    found = run_with_stages(model, torch.from_numpy(arrays["input"]))
    shares_max, shares_rms = [], []
    for key, stats in spec["stats"].items():
        if key not in found or key not in arrays.files or "maxdiff_f32_vs_f64" not in stats:
            continue
        if key == "conv_first_in":
            within(f"{name} float32 {backend} conv_first_in", worst(found[key], arrays[key]), 1e-6)
            continue
        difference = found[key].double() - torch.from_numpy(arrays[key]).double()
        shares_max.append(float(difference.abs().max()) / stats["maxdiff_f32_vs_f64"])
        shares_rms.append(float(difference.square().mean().sqrt()) / stats["rmsdiff_f32_vs_f64"])
    assert len(shares_max) > 15
    within(f"{name} float32 {backend} largest / published float32's", max(shares_max), 4.0)
    within(f"{name} float32 {backend} rms / published float32's", max(shares_rms), 3.0)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointed"])
@pytest.mark.parametrize("backend", CONFORMANT)
def test_every_gradient_equals_the_reference(backend, checkpointing, conformance_dir, rule, within):
    spec = json.loads((conformance_dir / "tiny_c.json").read_text())
    norms = json.loads((conformance_dir / "grad_tiny_c.json").read_text())
    arrays = np.load(conformance_dir / "grad_tiny_c.npz")
    flags = {"use_checkpoint_attn": checkpointing, "use_checkpoint_ffn": checkpointing}
    model = fill(VRT(**spec["config"], **flags, attn_backend=backend), rule).double()
    x = torch.from_numpy(rule["make_input"]((1, 5, 3, 64, 64), 0)).double().requires_grad_()
    out = model(x)
    R = torch.from_numpy(np.random.default_rng(1).standard_normal(tuple(out.shape)))
    loss = (out * R).sum() / out.numel() ** 0.5
    loss.backward()
    label = f"gradients {backend}{' checkpointed' if checkpointing else ''}"
    within(f"{label}: loss", abs(float(loss) - float(arrays["loss"])), 1e-9)

    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert set(norms["grad_l2"]) - {"input", "grad_input"} <= set(gradients)

    def relative(actual: Tensor, expected: np.ndarray) -> float:
        wanted = torch.from_numpy(expected).double()
        return float((actual - wanted).norm() / wanted.norm().clamp_min(1e-30))

    stored = [key for key in arrays.files if key.startswith("grad.")]
    errors = [relative(gradients[key.removeprefix("grad.")], arrays[key]) for key in stored]
    within(f"{label}: {len(stored)} tensors, relative L2", max(errors), 1e-6)
    within(f"{label}: input, relative L2", relative(x.grad, arrays["grad_input"]), 1e-6)
    norm_errors = [
        abs(float(gradients[n].norm()) - value) / value
        for n, value in norms["grad_l2"].items()
        if n in gradients and value > 0
    ]
    within(f"{label}: {len(norm_errors)} norms, relative", max(norm_errors), 1e-8)


def state_of(model: nn.Module) -> list[tuple[str, list[int]]]:
    return [(name, list(value.shape)) for name, value in model.state_dict().items()]


def test_official_state_dict_name_by_name(conformance_dir):
    expected = json.loads((conformance_dir / "vrt_006_state_dict.json").read_text())
    model = VRT(**OFFICIAL)
    assert state_of(model) == list(expected.items())
    assert sum(p.numel() for p in model.parameters()) == 18_320_007


def test_default_state_dict_name_by_name(conformance_dir):
    expected = json.loads((conformance_dir / "vrt_seed_variant_state_dict.json").read_text())
    model = build_model(load_config("default"))
    assert isinstance(model, VRTWithSpike)
    assert state_of(model.vrt) == list(expected.items())
    assert sum(p.numel() for p in model.vrt.parameters()) == 18_263_751


@pytest.mark.runs
def test_weights_with_the_official_names_restore_through_deblur_alone(conformance_dir, rule, tmp_path):
    """The file is made from the list alone; what deblur writes equals the model called directly, as pictures."""
    shapes = json.loads((conformance_dir / "vrt_006_state_dict.json").read_text())
    model = fill(VRT(**OFFICIAL), rule)
    computed = dict(model.named_buffers())
    made = {
        name: computed[name] if name in computed else torch.from_numpy(rule["make_param"](name, tuple(shape)))
        for name, shape in shapes.items()
    }
    torch.save({"params": made}, tmp_path / "006.pth")
    clip = torch.from_numpy(rule["make_input"]((1, 6, 3, 64, 64), 0)).mul(255).round() / 255
    for number, frame in enumerate(clip[0]):
        write_png(tmp_path / "frames" / f"{number}.png", to_bytes(frame))
    out = tmp_path / "sharp"
    arguments = [str(tmp_path / "frames"), "--weights", str(tmp_path / "006.pth"), "--out", str(out), "--device=cpu"]
    assert deblur(arguments) == 0
    with torch.no_grad():
        restored = model(clip)[0]
    for number, frame in enumerate(restored):
        assert np.array_equal(read_image(out / f"{number}.png"), to_bytes(frame))
    assert float((restored - clip[0]).abs().mean()) > 0.01

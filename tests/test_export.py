"""Exported weights: small, with their configuration, taken by every command like the checkpoint."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spikevrt import Restorer
from spikevrt.config import config_to_tree
from spikevrt.errors import UserError
from spikevrt.export import main
from spikevrt.models import build_model, load_trained_model
from spikevrt.models.weights.origin import described_file
from spikevrt.training.checkpoints import save_checkpoint
from tests.small_data import small_config


@pytest.fixture(scope="module")
def trained(tree, tmp_path_factory):
    """A checkpoint whose moving average differs from its weights, with an optimiser's state."""
    config = small_config(tree)
    torch.manual_seed(0)
    weights = build_model(config).state_dict()
    ema = {name: x + 0.01 if x.is_floating_point() else x for name, x in weights.items()}
    state = {"params": weights, "params_ema": ema, "training": {"step": 7}, "optimiser": {"x": torch.zeros(10**6)}}
    path = tmp_path_factory.mktemp("run") / "best.pt"
    save_checkpoint(path, config, state)
    return path, config, ema


def test_an_exported_model_is_that_of_the_checkpoint(trained, tmp_path, capsys):
    path, config, ema = trained
    out = tmp_path / "weights.safetensors"
    assert main([str(path), "--out", str(out)]) == 0
    assert "moving average of step 7" in capsys.readouterr().out
    assert out.stat().st_size < path.stat().st_size / 2
    model, found = load_trained_model(out)
    assert config_to_tree(found) == config_to_tree(config)
    assert all(torch.equal(x, ema[name]) for name, x in model.state_dict().items())
    assert described_file(out)["step"] == 7
    frames, spikes = np.zeros((2, 40, 40, 3), np.uint8), np.zeros((2, 8, 40, 40), np.uint8)
    outputs = [Restorer.from_pretrained(file, device="cpu")(frames, spikes) for file in (path, out)]
    assert np.array_equal(*outputs)


def test_half_the_size_in_float16(trained, tmp_path):
    path, _, ema = trained
    whole, half = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert main([str(path), "--out", str(whole)]) == main([str(path), "--out", str(half), "--half"]) == 0
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    model, _ = load_trained_model(half)
    assert all(torch.allclose(x, ema[n], rtol=1e-3, atol=1e-4) for n, x in model.state_dict().items())


def test_what_cannot_be_exported_is_named(trained, tree, tmp_path):
    path, config, ema = trained
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        main([str(path), "--out", str(tmp_path / "weights.pt")])
    out = tmp_path / "weights.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(UserError, match="exists already"):
        main([str(path), "--out", str(out)])
    assert out.read_bytes() == b"mine"
    name = next(n for n, x in ema.items() if x.is_floating_point())
    large = {"params": ema, "params_ema": ema | {name: ema[name] + 1e6}, "training": {"step": 1}}
    save_checkpoint(tmp_path / "large.pt", config, large)
    with pytest.raises(UserError, match=rf"{name}: holds values above 65504"):
        main([str(tmp_path / "large.pt"), "--out", str(out), "--half", "--overwrite"])
    assert out.read_bytes() == b"mine"
    failed = {"params": ema, "params_ema": ema | {name: ema[name] * float("nan")}, "training": {"step": 1}}
    save_checkpoint(tmp_path / "failed.pt", config, failed)
    with pytest.raises(UserError, match=rf"failed\.pt: NaN or infinity in 1 of .* entries \({name}\)"):
        main([str(tmp_path / "failed.pt"), "--out", str(out), "--overwrite"])
    torch.save(ema, tmp_path / "bare.pth")
    with pytest.raises(UserError, match="config is missing"):
        main([str(tmp_path / "bare.pth"), "--out", str(tmp_path / "c.safetensors")])


@pytest.mark.parametrize("entry", ["{", "[]", json.dumps({"format": 9, "versions": {}, "config": {}})])
def test_a_damaged_entry_is_one_line(trained, tmp_path, entry):
    path, _, _ = trained
    out = tmp_path / "weights.safetensors"
    main([str(path), "--out", str(out)])
    save_file(load_file(out), out, {"spikevrt": entry})
    with pytest.raises(UserError, match=r"damaged or no safetensors|newer spikevrt"):
        load_trained_model(out)

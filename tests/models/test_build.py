"""Building a model from a configuration, and loading checkpoints of every kind."""

import pytest
import torch

from spikevrt.config import config_to_tree, distinct_presets, load_config
from spikevrt.errors import UserError
from spikevrt.models import VRT, VRTWithSpike, build_model, load_trained_model, load_weights, run_model
from spikevrt.models.planning import (
    feature_rows,
    feature_table,
    model_without_storage,
    parameter_rows,
    parameter_table,
)

SMALL = [
    "MODEL.CHANNELS_PER_SCALE=[8,8,8,8]",
    "MODEL.SPIKE_TSA.HEADS=2",
    "MODEL.FUSE.HEADS=2",
]
COMPUTED = ("relative_position_index", "position_bias", "spynet.mean", "spynet.std")


@pytest.fixture(scope="module")
def config():
    return load_config("demo", SMALL)


@pytest.fixture(scope="module")
def model(config):
    return build_model(config)


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("wrapped", [True, False], ids=["params", "bare"])
@pytest.mark.parametrize("buffers", [True, False], ids=["buffers", "no-buffers"])
@pytest.mark.parametrize("names", ["ours", "quick-reference"])
def test_checkpoints_load_strictly(model, config, wrapped, buffers, names, tmp_path):
    state = dict(model.state_dict())
    if not buffers:
        state = {k: v for k, v in state.items() if not k.endswith(COMPUTED)}
    if names == "quick-reference":
        old = {"spike_temporal_sa.blocks": "spike_temporal_sa.sa_blocks"}
        old |= {"cross_attn_fuse.fuse_blocks": "cross_attn_fuse.cross_attn_blocks"}
        for ours, theirs in old.items():
            state = {k.replace(ours, theirs): v for k, v in state.items()}
        assert any("sa_blocks" in k for k in state)
    path = tmp_path / "weights.pth"
    torch.save({"params": state} if wrapped else state, path)
    other = build_model(config)
    assert not same(model, other)
    assert not load_weights(other, path)
    assert same(model, other)
    # torch's own call takes the same files.
    third = build_model(config)
    third.load_state_dict(torch.load(path, weights_only=True), strict=True)
    assert same(model, third)


def test_pretrained_backbone_is_loaded_and_its_licence_printed(model, tmp_path, capsys):
    path = tmp_path / "vrt.pth"
    torch.save({"params": model.vrt.state_dict()}, path)
    built = build_model(load_config("demo", [*SMALL, f"MODEL.VRT.PRETRAINED={path}"]))
    assert same(built.vrt, model.vrt)
    assert "CC-BY-NC 4.0" in capsys.readouterr().out


def test_partial_loads_say_what_is_left_out(model, config, capsys):
    state = dict(model.state_dict())
    del state["vrt.conv_first.bias"]
    state["vrt.extra"] = torch.zeros(1)
    state["vrt.norm.weight"] = torch.zeros(3)
    other = build_model(config)
    with pytest.raises(UserError, match="does not fit this configuration") as caught:
        load_weights(other, state, name="x.pth")
    assert "\n" not in str(caught.value)
    report = load_weights(other, state, strict=False)
    assert report.missing == ("vrt.conv_first.bias",)
    assert report.unexpected == ("vrt.extra",)
    assert report.reshaped == ("vrt.norm.weight: [3] != [8]",)
    assert "1 missing (vrt.conv_first.bias); 1 unexpected (vrt.extra)" in capsys.readouterr().out
    assert torch.equal(other.vrt.conv_last.weight, model.vrt.conv_last.weight)


def test_files_that_are_not_checkpoints(model, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_weights(model, tmp_path / "missing.pth")
    path = tmp_path / "bad.pth"
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(model, path)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="holds nothing of this model"):
        load_weights(model, path, strict=False)
    with pytest.raises(UserError, match="holds no configuration; name one with --config"):
        load_trained_model(path)
    torch.save({"a": torch.zeros(1), "config": "of another project"}, path)
    with pytest.raises(UserError, match="holds no configuration; name one with --config"):
        load_trained_model(path)


def test_a_trained_checkpoint_brings_its_configuration_and_its_mean_weights(model, config, tmp_path):
    path = tmp_path / "last.pt"
    zeros = {k: torch.zeros_like(v) for k, v in model.state_dict().items()}
    torch.save({"config": config_to_tree(config), "params": zeros, "params_ema": model.state_dict()}, path)
    loaded, found = load_trained_model(path, ["MODEL.ATTN_BACKEND=naive"])
    assert same(loaded, model)
    assert not loaded.training
    assert (found.model.attn_backend, found.data) == ("naive", config.data)


def test_triton_by_name_says_why_it_cannot_run():
    with pytest.raises(UserError, match="attention backend triton cannot run: "):
        build_model(load_config("demo", ["MODEL.ATTN_BACKEND=triton"]))


MINUTES = pytest.mark.runs
"""Steps of `default` and of the small presets are taken in every test run, those of the others with whole runs."""


@pytest.mark.parametrize(
    "preset",
    [pytest.param(name, marks=() if name in ("default", "demo", "fast") else MINUTES) for name in distinct_presets()],
)
def test_one_training_step_of_every_preset_at_a_reduced_crop(preset):
    """The preset's own model, whole; only crop, batch and frames are reduced."""
    config = load_config(preset, ["DATA.CROP_SIZE=64", "TRAIN.BATCH_SIZE=1", "MODEL.VRT.PRETRAINED=none"])
    model = build_model(config).train()
    T = min(config.data.clip_len, 3)
    rgb, vox = torch.rand(1, T, 3, 64, 64), torch.rand(1, T, config.data.k, 32, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.train.lr)
    last = getattr(model, "vrt", model).conv_last
    before = last.weight.detach().clone()
    loss = (run_model(model, rgb, vox if config.model.use_spike else None) - rgb.mean()).abs().mean()
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert not torch.equal(before, last.weight)


def test_plain_vrt_and_official_configuration():
    assert type(build_model(load_config("demo", ["MODEL.USE_SPIKE=false"]))) is VRT
    assert isinstance(model_without_storage(load_config("default")), VRTWithSpike)


def test_tables_of_parameters_and_shapes():
    default, strided, plain = (
        load_config("default", options)
        for options in ([], ["MODEL.SPIKE_ENCODER.TEMPORAL_STRIDES=[1,2,2]"], ["MODEL.USE_SPIKE=false"])
    )
    assert "23,675,463" in parameter_table(parameter_rows(default))
    assert "2x96x5x256x256" in feature_table(feature_rows(default))
    assert "2x96x3x64x64" in feature_table(feature_rows(strided))
    assert "spike" not in parameter_table(parameter_rows(plain))

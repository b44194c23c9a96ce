"""Runs that start from the weights of a file: of a checkpoint, or of one to pass on."""

import pytest
import torch

from spikevrt.errors import UserError
from spikevrt.export import main as export
from spikevrt.models import build_model, load_trained_model
from spikevrt.train import main as train
from spikevrt.training.initial import config_of_weights, initialise
from tests.small_data import make_tree, small_config, small_options

STILL = "TRAIN.LR=1e-12", "TRAIN.MIN_LR=0", "TRAIN.WARMUP_STEPS=0"
"""A step that changes nothing."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(tree, tmp_path_factory):
    """The last checkpoint of a run of two steps."""
    folder = tmp_path_factory.mktemp("trained")
    assert train([*small_options(tree), f"TRAIN.OUTPUT_DIR={folder}", "TRAIN.MAX_STEPS=2"]) == 0
    return folder / "last.pt"


def weights_of(path):
    return load_trained_model(path)[0].state_dict()


def same(a, b, atol=1e-6):
    return a.keys() == b.keys() and all(torch.allclose(a[k].float(), b[k].float(), atol=atol) for k in a)


@pytest.mark.parametrize("kind", ["checkpoint", "export"])
def test_a_run_starts_from_weights_and_their_configuration(tree, trained, tmp_path, kind):
    start = trained
    if kind == "export":
        start = tmp_path / "weights.safetensors"
        assert export([str(trained), "--out", str(start), "--opts", "TRAIN.LR=0.5"]) == 0
    out = tmp_path / "run"
    options = f"DATA.ROOT={tree}", f"TRAIN.OUTPUT_DIR={out}", "TRAIN.MAX_STEPS=1"
    assert train(["--init", str(start), "--opts", *options, *STILL]) == 0
    assert same(weights_of(out / "last.pt"), weights_of(trained))
    config = load_trained_model(out / "last.pt")[1]
    assert config.model == load_trained_model(trained)[1].model
    assert torch.load(out / "last.pt")["training"]["step"] == 1
    if kind == "export":
        assert config_of_weights(str(start), []).train.lr == 0.5


def test_places_of_files_are_not_taken_over(tree, trained):
    config = config_of_weights(str(trained), [])
    assert (config.data.root, config.train.output_dir, config.model.vrt.pretrained) == (None, "runs", None)
    assert config_of_weights(str(trained), [f"DATA.ROOT={tree}"]).data.root == str(tree)


def test_a_resumed_run_does_not_start_again(tree, trained, tmp_path):
    def run(steps):
        options = f"TRAIN.OUTPUT_DIR={tmp_path}", f"TRAIN.MAX_STEPS={steps}", "TRAIN.LR=0.01", "TRAIN.WARMUP_STEPS=0"
        assert train([*small_options(tree), *options, "--init", str(trained), "--resume", "auto"]) == 0
        return torch.load(tmp_path / "last.pt")

    first, second = run(1), run(2)
    assert second["training"]["step"] == 2
    assert not same(first["params"], second["params"])
    assert not same(second["params"], torch.load(trained)["params"], atol=1e-3)


def test_a_flow_that_was_trained_is_not_held_still(tree, tmp_path):
    moving, still = (small_config(tree, f"TRAIN.FREEZE_FLOW_STEPS={steps}") for steps in (0, 5))
    torch.save(build_model(moving).state_dict(), tmp_path / "moving.pth")
    model = build_model(still)
    initialise(model, still, str(tmp_path / "moving.pth"))
    assert not model.vrt.spynet.is_still
    initialise(model, still, None)
    with torch.no_grad():
        assert model.vrt.spynet.is_still


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MODEL.CHANNELS_PER_SCALE=[16, 16, 16, 16]"], "does not fit this configuration: MODEL.CHANNELS_PER_SCALE"),
        (["MODEL.VRT.PRETRAINED=x.pth"], "--init .*: MODEL.VRT.PRETRAINED names weights too; set it to none"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(tree, trained, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        train([*small_options(tree), f"TRAIN.OUTPUT_DIR={tmp_path}", *options, "--init", str(trained)])


def test_weights_without_a_configuration_ask_for_one(tree, trained, tmp_path):
    torch.save(torch.load(trained)["params"], tmp_path / "bare.pth")
    with pytest.raises(UserError, match=r"--init .*bare.pth: holds no configuration; name one with --config"):
        train(["--init", str(tmp_path / "bare.pth")])
    out = f"TRAIN.OUTPUT_DIR={tmp_path / 'run'}"
    assert train([*small_options(tree), out, "TRAIN.MAX_STEPS=1", "--init", str(tmp_path / "bare.pth")]) == 0
    with pytest.raises(UserError, match=r"no such file; give a .pt, .pth or .safetensors file, or tiny or tiny-rgb"):
        train(["--init", str(tmp_path / "none.pth")])

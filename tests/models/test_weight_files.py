"""Files of weights as people have them: wrapped, of other origins, damaged, or no weights at all."""

import argparse
import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from spikevrt.config import config_to_tree
from spikevrt.errors import UserError
from spikevrt.models import VRT, build_model, load_trained_model, load_weights
from spikevrt.models.vrt.spynet import SpyNet
from spikevrt.models.weights.files import read_state
from tests.training.checkpoint_states import tiny_config


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.second = nn.Linear(3, 1)


class Runs:
    """Would run a program when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Dictionary(dict):
    """Stands for the configurations of other projects that behave like a dictionary."""


@pytest.fixture
def weights():
    return Small().state_dict()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def loads(path, weights):
    """Whether a file gives a model these weights, without a remark that something is left out."""
    model = Small()
    assert not load_weights(model, path)
    return all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def refused(path, read=read_state):
    with pytest.raises(UserError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"checkpoint {path}: ")
    assert "\n" not in text
    assert len(text.replace(str(path), "x")) <= 300
    return text


def prefixed(weights, prefix):
    return {f"{prefix}{key}": value for key, value in weights.items()}


WRAPPERS = {
    "bare": lambda w: w,
    "ordered": OrderedDict,
    "params": lambda w: {"params": w},
    "state_dict": lambda w: {"state_dict": w, "epoch": 3},
    "model": lambda w: {"model": w, "args": argparse.Namespace(lr=1e-4, out=Path("runs"))},
    "model_state_dict": lambda w: {"model_state_dict": w, "loss": np.float64(0.25), "seed": np.int64(1)},
    "generator": lambda w: {"generator": w, "discriminator": {"first.weight": torch.zeros(3, 2)}},
    "nested": lambda w: {"state_dict": {"model": w}},
    "distributed": lambda w: prefixed(w, "module."),
    "compiled": lambda w: prefixed(w, "_orig_mod."),
    "distributed-compiled": lambda w: {"state_dict": prefixed(w, "module._orig_mod.")},
    "compiled-inside": lambda w: {key.replace(".", "._orig_mod."): value for key, value in w.items()},
    "lightning": lambda w: {"state_dict": prefixed(w, "model."), "pytorch-lightning_version": "2.0"},
    "averaged": lambda w: {"n_averaged": torch.tensor(5), **prefixed(w, "module.")},
    "none-ema": lambda w: {"params": w, "params_ema": None},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_taken_off_and_harmless_objects_left_out(path, weights, wrapper, capsys):
    torch.save(WRAPPERS[wrapper](weights), path)
    assert loads(path, weights)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("ema", ["params_ema", "ema", "model_ema", "ema_state_dict", "state_dict_ema"])
def test_the_mean_is_preferred_and_named(path, weights, ema, capsys):
    torch.save({"params": Small().state_dict(), ema: prefixed(weights, "module.")}, path)
    assert loads(path, weights)
    assert capsys.readouterr().out == f"checkpoint {path}: uses its EMA weights ({ema})\n"


def test_numbers_of_numpy_are_read(path):
    values = {
        "a": np.float64(0.1),
        "b": np.int32(-7),
        "c": np.float32(2.5),
        "d": np.bool_(True),
        "e": np.float64("inf"),
    }
    torch.save({**values, "big-endian": np.dtype(">f8").type(3.0)}, path)
    assert read_state(path) == {**{key: value.item() for key, value in values.items()}, "big-endian": 3.0}


@pytest.mark.parametrize("wrapper", ["bare", "params", "distributed-compiled"])
def test_every_way_to_load_takes_every_wrapper(path, wrapper, capsys):
    config = tiny_config()
    spynet = SpyNet()
    torch.save(WRAPPERS[wrapper](spynet.state_dict()), path)
    other = SpyNet()
    other.load_state_dict(torch.load(path, weights_only=True))
    vrt = VRT(**SMALL_VRT, spynet_path=str(path))
    for loaded in (other, vrt.spynet):
        assert all(torch.equal(loaded.state_dict()[key], value) for key, value in spynet.state_dict().items())
    model = build_model(config)
    torch.save(WRAPPERS[wrapper](model.vrt.state_dict()), path)
    built = build_model(tiny_config(f"MODEL.VRT.PRETRAINED={path}"))
    assert torch.equal(built.vrt.conv_last.weight, model.vrt.conv_last.weight)
    torch.save(WRAPPERS[wrapper](model.state_dict()) | {"config": config_to_tree(config)}, path)
    loaded, _ = load_trained_model(path)
    assert torch.equal(loaded.vrt.conv_last.weight, model.vrt.conv_last.weight)


SMALL_VRT = {
    "upscale": 1,
    "window_size": (2, 4, 4),
    "depths": [1] * 8,
    "embed_dims": [8] * 8,
    "num_heads": [2] * 8,
    "indep_reconsts": [],
    "deformable_groups": 2,
}


def test_a_spynet_that_does_not_fit_is_one_line(path):
    torch.save({"params": {"basic_module.0.weight": torch.zeros(1)}}, path)
    assert "does not fit" in refused(path, lambda p: VRT(**SMALL_VRT, spynet_path=str(p)))
    path.unlink()
    assert "no such file" in refused(path, lambda p: VRT(**SMALL_VRT, spynet_path=str(p)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_other_precisions_are_converted(path, weights, dtype):
    rounded = {key: value.to(dtype) for key, value in weights.items()}
    torch.save(rounded, path)
    assert loads(path, {key: value.float() for key, value in rounded.items()})


def test_old_files_shared_storage_and_safetensors_of_any_name_are_read(path, weights, tmp_path):
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    assert loads(path, weights)
    weights["second.bias"] = weights["first.weight"].view(-1)[:1]
    torch.save(weights, path)
    assert loads(path, weights)
    for name in ("weights.safetensors", "weights.pth"):
        save_file({key: value.clone() for key, value in weights.items()}, tmp_path / name)
        assert loads(tmp_path / name, weights)
    torch.save(weights, tmp_path / "misnamed.safetensors")
    assert loads(tmp_path / "misnamed.safetensors", weights)


def write_tar(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights inside")


def declare(elements):
    """Make a small file declare a tensor of that many elements."""

    def write(path):
        torch.save({"a": torch.zeros(1000)}, path)
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                thousand = b"M" + struct.pack("<H", 1000)
                archive.writestr(name, content.replace(thousand, b"\x8a\x08" + elements.to_bytes(8, "little")))

    return write


def bomb(path):
    torch.save({"a": torch.zeros(1)}, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data/1", bytes(10**7))


def script(path):
    torch.jit.script(nn.Linear(2, 2)).save(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda p: p.mkdir(), "is a folder; name a .pt, .pth or .safetensors file in it"),
        (lambda p: p.touch(), "is empty"),
        (lambda p: p.write_text("\n<!DOCTYPE html><html>"), "is a web page, not weights"),
        (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0"), "git lfs pull"),
        (lambda p: p.write_bytes(gzip.compress(b"weights")), "is compressed with gzip; unpack it"),
        (write_tar, "is a tar archive"),
        (write_zip, "is an archive without weights"),
        (script, "is a TorchScript program"),
        (bomb, "members larger than the file"),
        (declare(10**15), "damaged"),
        (declare(2000), "damaged"),
        (lambda p: torch.save([1], p), "holds list, not a dictionary"),
        (lambda p: torch.save(Small(), p), "holds an object of class test_weight_files.Small"),
        (lambda p: torch.save({"a": Dictionary(b=1)}, p), "holds objects of class test_weight_files.Dict"),
        (lambda p: p.write_bytes(struct.pack("<Q", 10**12) + b"{" + bytes(100)), "damaged"),
    ],
    ids=range(15),
)
def test_a_file_that_is_not_read_says_why(path, write, told):
    write(path)
    assert told in refused(path)


@pytest.mark.parametrize("header", [10**12, 50, 2**63])
def test_damaged_safetensors_are_one_line(tmp_path, weights, header):
    path = tmp_path / "weights.safetensors"
    assert "no such file" in refused(path)
    save_file(weights, path)
    path.write_bytes(header.to_bytes(8, "little") + path.read_bytes()[8:])
    assert "damaged or no safetensors file" in refused(path)


def test_no_code_of_a_file_is_run(path, tmp_path):
    for legacy in (False, True):
        torch.save({"a": Runs(tmp_path / "ran")}, path, _use_new_zipfile_serialization=not legacy)
        assert "system, which could run programs" in refused(path)
    assert not (tmp_path / "ran").exists()


def test_a_flipped_bit_of_a_downloaded_file_is_found(path, weights):
    torch.save(weights, path)
    content = bytearray(path.read_bytes())
    at = content.index(weights["first.weight"].numpy().tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert "differs from its checksum" in refused(path)


def test_a_file_saved_without_checksums_is_read(path, weights):
    torch.serialization.set_crc32_options(False)
    torch.save(weights, path)
    torch.serialization.set_crc32_options(True)
    assert loads(path, weights)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:TypedStorage")
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (torch.tensor([1.0, float("nan"), 2.0]), "NaN or infinity in 1 of 4 entries (first.bias)"),
        (torch.tensor([1e300, 0, 0], dtype=torch.float64), "NaN or infinity in 1 of 4 entries (first.bias)"),
        (torch.ones(3).to_sparse(), "first.bias: sparse != dense"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "first.bias: quantised != dense"),
        (torch.ones(3, dtype=torch.complex64), "first.bias: torch.complex64 != torch.float32"),
        (torch.ones(3, device="meta"), "first.bias: without values != dense"),
        ("text", "first.bias: text != a tensor"),
        (argparse.Namespace(), "first.bias: an object of class argparse.Namespace"),
    ],
    ids=range(8),
)
def test_a_weight_that_cannot_be_used_is_named_and_nothing_loaded(path, weights, value, told):
    model = Small()
    before = {key: own.clone() for key, own in model.state_dict().items()}
    torch.save(weights | {"first.bias": value() if callable(value) else value}, path)
    assert told in refused(path, lambda p: load_weights(model, p))
    assert all(torch.equal(own, before[key]) for key, own in model.state_dict().items())


def test_weights_that_stand_twice_are_refused(path, weights):
    torch.save(weights | {"module.first.bias": torch.ones(3)}, path)
    assert "holds first.bias twice" in refused(path, lambda p: load_weights(Small(), p))


@pytest.mark.parametrize("entry", ["params", "params_ema"])
def test_an_entry_of_weights_that_holds_none_is_named(path, weights, entry):
    torch.save({"state_dict": weights, entry: "text"}, path)
    assert f"{entry} holds text, not weights by name" in refused(path, lambda p: load_weights(Small(), p))


@pytest.mark.parametrize(
    ("there", "here", "told"),
    [
        (("MODEL.USE_SPIKE=false",), (), "give them as MODEL.VRT.PRETRAINED"),
        ((), ("MODEL.USE_SPIKE=false",), "weights of VRT+Spike"),
        (("MODEL.WINDOW_SIZE=[6, 4, 4]",), (), "MODEL.WINDOW_SIZE seems to differ"),
        (("MODEL.CHANNELS_PER_SCALE=[4, 4, 4, 4]",), (), "MODEL.CHANNELS_PER_SCALE seems to be 4 there, 8 here"),
        (("DATA.K=6",), (), "DATA.K seems to be 6 there, 4 here"),
        (("MODEL.VRT.DEPTHS=[2,1,1,1,1,1,1,1,1]",), (), "MODEL.VRT.DEPTHS seems to differ"),
    ],
    ids=range(6),
)
def test_weights_that_do_not_fit_say_what_they_seem_to_be(path, there, here, told):
    torch.save(build_model(tiny_config(*there)).state_dict(), path)
    model = build_model(tiny_config(*here))
    assert told in refused(path, lambda p: load_weights(model, p))


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"format": 7}, "a newer spikevrt wrote it"),
        ({"params_ema": None}, "params_ema holds nothing"),
        ({"params": 3}, "params holds int"),
        ({"config": {"MODEL": {"VRT": {"DEPTHS": [50] * 9}}}}, "MODEL.VRT.DEPTHS = 450 blocks"),
        ({"config": {"MODEL": {"CHANNELS_PER_SCALE": [8160] * 4}}}, "MODEL.CHANNELS_PER_SCALE or"),
        ({"config": {"DATA": {"K": 10**9}}}, "DATA.K"),
        ({"config": {"NEW": 1}}, "config: NEW: unknown configuration key"),
        ({"config": {1: {2: 3}}}, "config: 1: unknown configuration key"),
    ],
    ids=range(8),
)
def test_a_trained_model_with_a_wrong_entry_is_one_line(path, entries, told):
    state = {"first.weight": torch.zeros(100, 100)}
    whole = {"format": 1, "versions": {}, "config": config_to_tree(tiny_config()), "params": state, "params_ema": state}
    torch.save(whole | entries, path)
    assert told in refused(path, load_trained_model)

"""Tuned tile sizes: stored, read, used by both tables, and ignored wherever they do not belong."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from spikevrt_kernels.core import tuned, user_cache
from spikevrt_kernels.core.tuned import (
    Kernel,
    fingerprint,
    keep_rows,
    kernels_asked_for,
    read_rows,
    rows_on,
    rows_path,
    trying,
)
from spikevrt_kernels.temporal_block.triton import tile_table as block
from spikevrt_kernels.window_attention.triton import tile_table as windows

CARD = "NVIDIA H100 80GB HBM3"
CUDA = torch.device("cuda", 0)
VARIANT = ("torch.bfloat16", 96, 192)
MLP, FORWARD = Kernel("temporal_block", "bwd_mlp", VARIANT), Kernel("window_attention", "forward", ("x", 16, 320, 0))
ROWS = {MLP: (64, 8, 6), FORWARD: (64, 64, 8, 2)}


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A cache folder of its own, and a card by name."""
    monkeypatch.setenv("SPIKEVRT_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv(tuned.VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(name=CARD))
    rows_on.cache_clear()
    yield
    rows_on.cache_clear()


def mlp(device=CUDA, variant=VARIANT):
    return block.choose("bwd_mlp", 1 << 30, variant, device)


def test_rows_are_kept_and_used_by_both_tables():
    assert mlp() == block.TABLE["bwd_mlp"], "nothing is tuned before"
    keep_rows(CARD, ROWS)
    assert read_rows(CARD) == ROWS
    assert mlp() == block.Config(64, 8, 6)
    assert block.choose("bwd_mlp", 20, VARIANT, CUDA) == block.Config(16, 8, 6), "the bound of a tile holds"
    assert windows.choose("forward", 90, 320, FORWARD.variant, CUDA) == windows.Config(64, 64, 8, group=2)
    assert windows.choose("forward", 90, 20, FORWARD.variant, CUDA) == windows.Config(32, 32, 8, group=2)


def test_rows_belong_to_a_variant_and_to_cuda():
    keep_rows(CARD, ROWS)
    for config in (mlp(variant=("torch.float32", 96, 192)), mlp(torch.device("cpu")), mlp(None)):
        assert config == block.TABLE["bwd_mlp"]


@pytest.mark.parametrize("what", ["device", "triton", "sources"])
def test_another_machine_or_other_sources_are_not_tuned(what, monkeypatch):
    keep_rows(CARD, ROWS)
    if what == "device":
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(name="another"))
    else:
        monkeypatch.setattr(tuned, {"triton": "triton_version", "sources": "sources"}[what], lambda: "another")
    assert mlp() == block.TABLE["bwd_mlp"]


def test_the_digest_of_the_sources_follows_every_file(tmp_path):
    assert set(user_cache.PACKAGE.glob("*/triton/tile_table.py")) >= {Path(block.__file__)}
    (tmp_path / "kernels").mkdir()
    found = set()
    for name, text in (("a.py", "one"), ("a.py", "two"), ("b.py", "two"), ("kernels/a.py", "two")):
        (tmp_path / name).write_text(text)
        found.add(user_cache.sources.__wrapped__(tmp_path))
    assert len(found) == 4


@pytest.mark.parametrize("text", ["", "[", "[]", '{"rows": 3}', "good without rows", "a bad row"])
def test_a_damaged_file_is_ignored_with_a_line(text):
    keep_rows(CARD, ROWS)
    path = rows_path(CARD)
    document = json.loads(path.read_text())
    if text == "good without rows":
        del document["rows"]
        text = json.dumps(document)
    elif text == "a bad row":
        document["rows"][0]["row"] = [64, "8", 6]
        text = json.dumps(document)
    path.write_text(text)
    with pytest.warns(UserWarning, match=r"damaged, so nothing is tuned; python -m bench\.tune makes it again"):
        assert mlp() == block.TABLE["bwd_mlp"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mlp() == block.TABLE["bwd_mlp"], "said once"


def test_a_variable_turns_them_off(monkeypatch):
    keep_rows(CARD, ROWS)
    monkeypatch.setenv(tuned.VARIABLE, "0")
    assert mlp() == block.TABLE["bwd_mlp"]


def test_a_proof_with_other_rows_is_another_proof():
    before = fingerprint(CUDA)
    keep_rows(CARD, ROWS)
    assert fingerprint(CUDA) != before
    assert fingerprint(torch.device("cpu")) == before


def test_a_row_that_is_tried_counts_anywhere_and_for_that_time_only():
    keep_rows(CARD, ROWS)
    with kernels_asked_for() as asked, trying({MLP: (32, 8, 3)}):
        assert mlp() == mlp(None) == block.Config(32, 8, 3)
    assert list(asked) == [MLP]
    assert mlp(None) == block.TABLE["bwd_mlp"]

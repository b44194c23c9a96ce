"""Training checkpoints: every flipped byte and every wrong entry is one line, and the newest whole one is found."""

import copy
import zipfile
from pathlib import Path

import pytest
import torch

from spikevrt.errors import UserError
from spikevrt.models.trained import load_trained_model
from spikevrt.training import checkpoints
from spikevrt.training.checkpoints import (
    all_numbered,
    drop_old,
    newest_whole,
    numbered,
    read_checkpoint,
    save_checkpoint,
    weights_alone,
)
from tests.training.checkpoint_states import tiny_config, trained_state

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def state():
    return trained_state(CONFIG)


def test_a_checkpoint_of_a_gpu_is_continued_without_one(tmp_path):
    """The kernels with which it was trained cannot run here."""
    there = tiny_config("MODEL.ATTN_BACKEND=triton")
    save_checkpoint(tmp_path / "last.pt", there, trained_state(CONFIG))
    assert read_checkpoint(tmp_path / "last.pt", CONFIG)["training"]["step"] > 0


@pytest.fixture
def saved(state, tmp_path):
    """A function that saves the state as if it were of a step."""

    def save(name, step):
        path = tmp_path / name
        save_checkpoint(path, CONFIG, state | {"training": state["training"] | {"step": step}})
        return path

    return save


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def refused(path, config=CONFIG):
    """The one line with which a checkpoint is refused."""
    with pytest.raises(UserError) as caught:
        read_checkpoint(path, config)
    text = str(caught.value)
    assert text.startswith(f"checkpoint {path}: ")
    assert "\n" not in text
    assert len(text.replace(str(path), "x")) <= 300
    return text


def test_what_was_saved_is_read(saved, state):
    path = saved("last.pt", 2)
    read = read_checkpoint(path, CONFIG)
    assert all(torch.equal(read["params"][key], value) for key, value in state["params"].items())
    assert read["training"]["best"] == state["training"]["best"]
    assert torch.load(path, weights_only=True)["training"]["step"] == 2
    assert zipfile.ZipFile(path).testzip() is None


@pytest.mark.parametrize("place", [0, 2, 100, 0.3, 0.7, 0.999, -103, -101, -90, -82, -81, -80, -70, -64, -1])
def test_a_flipped_bit_anywhere_is_found(saved, place):
    path = saved("last.pt", 2)
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 1
    path.write_bytes(content)
    assert "damaged" in refused(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_file_that_was_cut_short_is_found(saved, share):
    path = saved("last.pt", 2)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "damaged" in refused(path) or share == 0


def test_bytes_behind_the_end_and_foreign_members_are_found(saved):
    path = saved("last.pt", 2)
    whole = path.read_bytes()
    path.write_bytes(whole + b"more")
    assert "damaged" in refused(path)
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("last/data/foreign", b"1234")
    assert "damaged" in refused(path)


def test_an_older_file_without_a_digest_is_read_and_held_to_its_members_checksums(saved):
    path = saved("last.pt", 2)
    torch.save(torch.load(path, weights_only=True), path)
    assert read_checkpoint(path, CONFIG)["training"]["step"] == 2
    damage(path)
    assert "differs from its checksum" in refused(path)


def test_the_newest_whole_checkpoint_is_found(saved, tmp_path, capsys):
    assert newest_whole(tmp_path, CONFIG) is None
    saved("best.pt", 3)
    assert newest_whole(tmp_path, CONFIG)[0].name == "best.pt"
    numbered = saved("step_00000004.pt", 4)
    saved("step_00000002.pt", 2)
    last = saved("last.pt", 5)
    path, state = newest_whole(tmp_path, CONFIG)
    assert (path, state["training"]["step"]) == (last, 5)
    assert capsys.readouterr().out == ""
    damage(last)
    assert newest_whole(tmp_path, CONFIG)[0] == numbered
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert f"checkpoint {last}: damaged" in line
    assert "step_00000004.pt (step 4) is used instead" in line
    numbered.write_bytes(b"")
    path, state = newest_whole(tmp_path, CONFIG)
    assert (path.name, state["training"]["step"]) == ("best.pt", 3)
    assert capsys.readouterr().out.count("is used instead") == 2


def test_the_best_weights_alone_are_small_and_no_run_continues_from_them(saved, state, tmp_path, capsys):
    whole = saved("last.pt", 2)
    best = tmp_path / "best.pt"
    save_checkpoint(best, CONFIG, weights_alone(state))
    assert best.stat().st_size < 0.3 * whole.stat().st_size
    assert torch.load(best, weights_only=True)["training"] == {key: state["training"][key] for key in ("step", "best")}
    assert newest_whole(tmp_path, CONFIG)[0] == whole
    whole.unlink()
    assert newest_whole(tmp_path, CONFIG) is None
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match=r"best\.pt: holds weights alone, .*resume from last\.pt"):
        read_checkpoint(best, CONFIG)
    model, _ = load_trained_model(best)
    key, value = next(iter(model.named_parameters()))
    assert torch.equal(value, state["params_ema"][key])


@pytest.mark.parametrize(("keep", "kept"), [(1, [10]), (2, [8, 10]), (3, [6, 8, 10]), (9, [2, 4, 6, 8, 10])])
def test_as_many_numbered_checkpoints_are_kept_as_asked_for(tmp_path, keep, kept):
    for step in (2, 4, 6, 8, 10):
        numbered(tmp_path, step).touch()
        drop_old(tmp_path, keep)
    assert all_numbered(tmp_path) == [numbered(tmp_path, step) for step in kept]


def test_numbered_checkpoints_are_told_by_their_number_and_copies_of_the_user_stay(tmp_path):
    names = ["step_00000002_good.pt", "step_best.pt", "step_1.pt"]
    for path in (*(tmp_path / name for name in names), numbered(tmp_path, 99_999_999), numbered(tmp_path, 10**8)):
        path.touch()
    drop_old(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "step_100000000.pt"])


def test_of_equal_steps_last_is_taken(saved, tmp_path):
    for name in ("best.pt", "step_00000004.pt", "last.pt"):
        saved(name, 4)
    assert newest_whole(tmp_path, CONFIG)[0].name == "last.pt"


def test_a_run_without_a_whole_checkpoint_is_not_started_over(saved, tmp_path):
    for name in ("last.pt", "best.pt"):
        damage(saved(name, 4))
    with pytest.raises(UserError, match="none of its 2 checkpoints is whole") as caught:
        newest_whole(tmp_path, CONFIG)
    assert "last.pt" in str(caught.value)


def test_another_configuration_is_an_error_and_not_passed_over(saved, tmp_path):
    saved("best.pt", 3)
    saved("last.pt", 4)
    with pytest.raises(UserError, match=r"last\.pt: of another configuration \(MODEL\.FUSE\.MLP_RATIO"):
        newest_whole(tmp_path, tiny_config("MODEL.FUSE.MLP_RATIO=3"))


DROP = object()
PATH = Path("runs/last.pt")


@pytest.fixture(scope="module")
def whole(state, tmp_path_factory):
    """What a checkpoint holds, as it is read."""
    path = tmp_path_factory.mktemp("whole") / "last.pt"
    save_checkpoint(path, CONFIG, state)
    return torch.load(path, weights_only=True)


def changed(node, sections, value):
    """A copy of nested entries with one of them changed or dropped; the rest is shared."""
    name, *rest = sections
    name = int(name) if name.isdigit() else name
    node = copy.copy(node)
    if rest:
        node[name] = changed(node[name], rest, value)
    elif value is DROP:
        del node[name]
    else:
        node[name] = value(node[name]) if callable(value) else value
    return node


NAN = float("nan")
OPTIMIZER = "training/optimizer"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("format", DROP, "format is missing"),
        ("format", "1", "format is text"),
        ("format", 2, "a newer spikevrt wrote it"),
        ("format", 10**30, "a newer spikevrt wrote it"),
        ("config", DROP, "config is missing"),
        ("config", [1], "config is list"),
        ("config/MODEL", 3, "config: MODEL = 3"),
        ("config/MODEL/NEW_KEY", 3, "config: MODEL.NEW_KEY: unknown"),
        ("config/DATA/K", NAN, "config: DATA.K"),
        ("params", DROP, "params is missing"),
        ("params", "text", "params holds text"),
        ("params/vrt.norm.weight", DROP, "params does not fit its config: 1 missing (vrt.norm.weight)"),
        ("params/vrt.norm.weight", torch.ones(3), "vrt.norm.weight: [3] != [8]"),
        ("params/vrt.norm.weight", 5, "vrt.norm.weight: int != a tensor"),
        ("params/vrt.norm.weight", torch.full((8,), NAN), "NaN or infinity in 1 of"),
        ("params/vrt.norm.weight", torch.ones(8).long(), "torch.int64 != torch.float32"),
        ("params/vrt.norm.weight", torch.ones(8).to_sparse(), "sparse != dense"),
        ("params/vrt.foreign", torch.ones(3), "params holds 1 entries of another model (vrt.foreign)"),
        ("params/foreign", "text", "params holds 1 entries of another model (foreign)"),
        ("format", 10**400, "a newer spikevrt wrote it"),
        ("training/best", 10**400, "training.best = an integer of 1329 bits"),
        ("params_ema", DROP, "params_ema is missing"),
        ("params_ema", None, "params_ema holds nothing"),
        ("params_ema/vrt.norm.weight", DROP, "params_ema does not fit"),
        ("training", DROP, "training is missing"),
        ("training", 7, "training holds int"),
        ("training/step", DROP, "training.step is missing"),
        ("training/step", "7", "training.step holds text"),
        ("training/step", True, "training.step holds bool"),
        ("training/step", -1, "training.step = -1"),
        ("training/step", 10**30, f"training.step = {10**30}"),
        ("training/step", 10**400, "training.step = an integer of 1329 bits"),
        ("training/step", NAN, "training.step holds float"),
        ("training/best", NAN, "training.best = nan"),
        ("training/best", None, "training.best holds nothing"),
        ("training/bad_steps", 0.5, "training.bad_steps holds float"),
        ("training/draws", "7", "training.draws holds text"),
        ("training/draws", -1, "training.draws = -1"),
        ("training/validated", None, "training.validated holds nothing"),
        ("training/world", 0.5, "training.world holds float"),
        ("training/samples", [], "training.samples holds list"),
        ("training/skipped", 10**30, f"training.skipped = {10**30}"),
        (OPTIMIZER, DROP, "training.optimizer is missing"),
        (f"{OPTIMIZER}/param_groups", DROP, "param_groups is missing"),
        (f"{OPTIMIZER}/param_groups/1", DROP, "holds 1 groups, must hold 2"),
        (f"{OPTIMIZER}/param_groups/1", [], "param_groups.1 holds list"),
        (f"{OPTIMIZER}/param_groups/0/params/0", DROP, "param_groups.0.params does not list"),
        (f"{OPTIMIZER}/param_groups/0/weight_decay", NAN, "param_groups.0.weight_decay = nan"),
        (f"{OPTIMIZER}/param_groups/0/betas", (0.1, 0.2), "param_groups.0.betas is not (0.9, 0.99)"),
        (f"{OPTIMIZER}/param_groups/0/amsgrad", True, "param_groups.0.amsgrad is not False"),
        (f"{OPTIMIZER}/state/0/exp_avg", DROP, "state.0.exp_avg is missing"),
        (f"{OPTIMIZER}/state/0/exp_avg", torch.ones(2), "state.0.exp_avg is torch.float32 [2]"),
        (f"{OPTIMIZER}/state/0/exp_avg", lambda own: own * NAN, "state.0.exp_avg holds NaN"),
        (f"{OPTIMIZER}/state/0/exp_avg_sq", lambda own: own - 1e9, "state.0.exp_avg_sq holds NaN, infinity or a neg"),
        (f"{OPTIMIZER}/state/0/step", 7, "state.0.step holds int"),
        (f"{OPTIMIZER}/state/99999", {}, "state.99999 is no parameter"),
        ("training/scaler", [], "training.scaler holds list"),
        ("training/scaler", {"scale": 0.0}, "training.scaler.scale = 0"),
        ("versions", 7, None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_entry_is_named(whole, monkeypatch, name, value, told):
    read = changed(whole, name.split("/"), value)
    monkeypatch.setattr(checkpoints, "read_state", lambda path: read)
    if told is None:
        read_checkpoint(PATH, CONFIG)
    else:
        assert told in refused(PATH)


def test_the_writer_of_an_unknown_key_is_named(whole, monkeypatch):
    read = changed(whole, ["config", "MODEL", "NEW_KEY"], 3) | {"versions": {"spikevrt": "9.9"}}
    monkeypatch.setattr(checkpoints, "read_state", lambda path: read)
    assert "(written by spikevrt '9.9', this is " in refused(PATH)


def test_other_positions_are_not_taken_in_silence(state):
    from spikevrt.models import build_model
    from spikevrt.models.checkpoint import load_weights

    other = copy.copy(state["params"])
    key = next(key for key in other if key.endswith("relative_position_index"))
    other[key] = other[key].flip(0)
    with pytest.raises(UserError, match="holds other positions than the model computes"):
        load_weights(build_model(CONFIG), other)

"""Whole runs: exact resume, signals, non-finite steps, memory, checkpoints that do not fit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from spikevrt.errors import UserError
from spikevrt.models.compiled_parts import compile_parts
from spikevrt.train import main as train
from spikevrt.training import memory_watch, optimiser_step
from spikevrt.training import trainer as trainer_module
from spikevrt.training.checkpoints import save_checkpoint
from spikevrt.training.distributed import Processes
from spikevrt.training.options import RunOptions
from spikevrt.training.run import train as run_training
from spikevrt.training.run_folder import find_resume
from spikevrt.training.trainer import Trainer
from tests.small_data import small_config
from tests.training.stopping import stop_after

CPU = Processes(0, 1, torch.device("cpu"))
QUICK = ("TRAIN.VAL_EVERY=100", "TRAIN.SAVE_EVERY=2", "TRAIN.LOG_EVERY=1", "TRAIN.WARMUP_STEPS=1")


def start(tree: Path, folder: Path, *options: str, resume: bool = False) -> Trainer:
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={folder}", *QUICK, *options)
    return Trainer(config, CPU, folder / "last.pt" if resume else None)


def rows(folder: Path, kind: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def same(a: dict, b: dict) -> bool:
    if a.keys() != b.keys():
        return False
    pairs = ((a[k], b[k]) for k in a)
    return all(
        torch.equal(x, y) if torch.is_tensor(x) else same(x, y) if isinstance(x, dict) else x == y for x, y in pairs
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_is_exact(tree, tmp_path, workers):
    common = ("TRAIN.MAX_STEPS=4", f"TRAIN.NUM_WORKERS={workers}", "TRAIN.ACCUMULATE_GRAD=2", "MODEL.VRT.DROP_PATH=0.2")
    assert start(tree, tmp_path / "whole", *common).run()
    first = start(tree, tmp_path / "parts", *common)
    stop_after(first, 2)
    assert not first.run()
    assert rows(tmp_path / "parts", "train")[-1]["step"] == 2
    assert start(tree, tmp_path / "parts", *common, resume=True).run()
    whole, parts = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts"))
    assert same(whole["params"], parts["params"])
    assert same(whole["params_ema"], parts["params_ema"])
    assert same(whole["training"]["optimizer"]["state"], parts["training"]["optimizer"]["state"])
    losses = [[row["loss"] for row in rows(tmp_path / name, "train")] for name in ("whole", "parts")]
    assert len(losses[0]) == 4
    assert losses[0] == losses[1]


def test_a_run_learns_validates_and_leaves_what_it_should(tree, tmp_path):
    folder = tmp_path / "run"
    run = start(tree, folder, "TRAIN.MAX_STEPS=3", "TRAIN.VAL_EVERY=2", "TRAIN.KEEP_LAST=1")
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    assert run.run()
    moved = [k for k, v in run.model.state_dict().items() if not torch.equal(v, before[k])]
    assert len(moved) > 0.9 * len(list(run.model.parameters()))
    names = {p.name for p in folder.iterdir()} - {"tensorboard"}
    assert names == {"config.yaml", "log.jsonl", "last.pt", "best.pt", "step_00000002.pt"}
    assert [row["step"] for row in rows(folder, "val")] == [2, 3]
    assert all(set(row) >= {"loss", "lr", "wait_share"} for row in rows(folder, "train"))
    assert run.best == max(row["psnr"] for row in rows(folder, "val"))


def test_ctrl_c_finishes_the_step_and_saves(tree, tmp_path):
    folder = tmp_path / "run"
    run = start(tree, folder, "TRAIN.MAX_STEPS=50")
    one_step = run._one_step

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        one_step(*arguments)

    run._one_step = interrupted
    handler = signal.getsignal(signal.SIGINT)
    assert not run.run()
    assert run.step == 1
    assert torch.load(folder / "last.pt", weights_only=True)["training"]["step"] == 1
    assert signal.getsignal(signal.SIGINT) == handler


def test_ctrl_c_in_a_terminal_reaches_the_workers_too(tree, tmp_path):
    # More micro-batches than the workers hold in store: the step can only finish if they live on.
    many = ("TRAIN.ACCUMULATE_GRAD=8", "TRAIN.SAVE_EVERY=1")
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path / 'run'}", *QUICK, "TRAIN.NUM_WORKERS=1", *many)
    (tmp_path / "run.yaml").write_text(trainer_module.config_to_yaml(config))
    command = [sys.executable, "-m", "spikevrt.train", "--config", str(tmp_path / "run.yaml")]
    # One thread: two that share a core with other tests would wait for each other.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not (tmp_path / "run" / "last.pt").exists():
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "and saved; continue with the same command and --resume auto" in output


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_one_line_and_loses_no_step(own_tree, tmp_path, workers):
    run = start(own_tree, tmp_path / "run", "TRAIN.MAX_STEPS=9", "TRAIN.SAVE_EVERY=100", f"TRAIN.NUM_WORKERS={workers}")
    one_step = run._one_step

    def damaging(*arguments):
        one_step(*arguments)
        for path in own_tree.glob("train/*/blur/*.png"):
            path.write_bytes(b"damaged")

    run._one_step = damaging
    with pytest.raises(UserError, match=r"blur/\d+\.png: cannot be read as a picture") as caught:
        run.run()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(own_tree))
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["training"]["step"] == run.step >= 1


def test_two_processes_train_as_one_with_twice_the_batch(tree, tmp_path):
    common = (*QUICK, "TRAIN.MAX_STEPS=2", "TRAIN.NUM_WORKERS=0", "TRAIN.SAVE_EVERY=2", "MODEL.VRT.DROP_PATH=0.0")
    single = start(tree, tmp_path / "one", *common, "TRAIN.BATCH_SIZE=2")
    before = torch.cat([p.detach().flatten() for p in single.model.state_dict().values()])
    single.run()
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path / 'two'}", *common, "TRAIN.BATCH_SIZE=1")
    (tmp_path / "two.yaml").write_text(trainer_module.config_to_yaml(config))
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "spikevrt.train"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, *command, "--config", str(tmp_path / "two.yaml")]
    subprocess.run(arguments, env=environment, check=True, timeout=300)
    states = (torch.load(tmp_path / name / "last.pt", weights_only=True)["params"] for name in ("one", "two"))
    one, two = (torch.cat([p.flatten() for p in state.values()]) for state in states)
    # Adam's first steps follow the sign of a gradient, and rounding turns some that are nearly zero.
    assert (two - one).norm() < 0.05 * (one - before).norm()


def test_steps_that_are_not_finite_are_skipped_and_counted(tree, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    run = start(tree, folder, "TRAIN.MAX_STEPS=20", "TRAIN.SAVE_EVERY=1", "TRAIN.MAX_BAD_STEPS=3")
    kept: dict = {}
    loss = run.optimiser_step.loss

    def failing(*arguments):
        if run.step == 2:
            kept.update({k: v.clone() for k, v in run.model.state_dict().items()})
        return loss(*arguments) * (float("nan") if run.step >= 2 else 1)

    run.optimiser_step.loss = failing
    with pytest.raises(UserError, match=r"not finite for 3 steps in a row.*last\.pt holds the last good"):
        run.run()
    last = torch.load(folder / "last.pt", weights_only=True)
    assert last["training"]["step"] == 2
    assert same(last["params"], kept)
    assert all(bool(torch.isfinite(v).all()) for v in run.model.state_dict().values())


def test_a_last_step_that_is_skipped_leaves_the_last_good_state(tree, tmp_path):
    run = start(tree, tmp_path, "TRAIN.MAX_STEPS=3", "TRAIN.SAVE_EVERY=100")
    loss, kept = run.optimiser_step.loss, {}

    def failing(*arguments):
        if run.step == 2:
            kept.update({k: v.clone() for k, v in run.model.state_dict().items()})
        return loss(*arguments) * (float("nan") if run.step == 2 else 1)

    run.optimiser_step.loss = failing
    assert run.run()
    assert same(torch.load(tmp_path / "last.pt", weights_only=True)["params"], kept)


def test_a_stop_in_a_skipped_step_saves_and_says_only_what_is_saved(tree, tmp_path, monkeypatch, capsys):
    failing = trainer_module.OptimiserStep.clip

    def bad(self, loss):
        os.kill(os.getpid(), signal.SIGTERM)
        return failing(self, loss * float("nan"))

    monkeypatch.setattr(trainer_module.OptimiserStep, "clip", bad)
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path}", *QUICK, "TRAIN.MAX_STEPS=9")
    assert run_training(config, RunOptions()) != 0
    assert torch.load(tmp_path / "last.pt", weights_only=True)["training"]["step"] == 1
    assert "stopped at step 1 and saved" in capsys.readouterr().out


def test_after_a_divergence_the_disk_holds_a_state_from_before_it(tree, tmp_path):
    """The weights of step 3 are finite, but nothing that they give is: neither its save nor its stop may replace 2."""
    run = start(tree, tmp_path, "TRAIN.MAX_STEPS=9", "TRAIN.SAVE_EVERY=1", "TRAIN.MAX_BAD_STEPS=2")
    finish, before = run.optimiser_step.finish, {}

    def diverging(step, taken):
        if step == 3:
            before.update({k: v.clone() for k, v in run.model.state_dict().items()})
            for group in run.optimiser_step.optimizer.param_groups:
                group["lr"] = 1e30
        finish(step, taken)

    run.optimiser_step.finish = diverging
    with pytest.raises(
        UserError, match=r"not finite for 2 steps in a row.*last\.pt holds the last good state, of step 2"
    ):
        run.run()
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    assert last["training"]["step"] == 2
    assert same(last["params"], before)
    assert not (tmp_path / "step_00000003.pt").exists()


def test_keys_of_the_optimiser_take_effect_at_a_resume_and_a_new_mean_starts_at_the_weights(tree, tmp_path, capsys):
    start(tree, tmp_path, "TRAIN.MAX_STEPS=2", "TRAIN.EMA_DECAY=0").run()
    changed = ("TRAIN.WEIGHT_DECAY=0.25", "TRAIN.FLOW_LR_SCALE=0.125", "TRAIN.EMA_DECAY=0.9")
    run = start(tree, tmp_path, "TRAIN.MAX_STEPS=4", *changed, resume=True)
    groups = run.optimiser_step.optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.25, 0.25]
    assert [group["scale"] for group in groups] == [1.0, 0.125]
    assert same(run.optimiser_step.ema.state, dict(run.model.state_dict()))
    line = capsys.readouterr().out.splitlines()[-1]
    assert "TRAIN.WEIGHT_DECAY 0.0 -> 0.25" in line
    assert "TRAIN.EMA_DECAY 0.0 -> 0.9" in line


def test_a_validation_that_an_error_prevented_is_made_up_for(own_tree, tmp_path):
    run = start(own_tree, tmp_path, "TRAIN.MAX_STEPS=2", "TRAIN.VAL_EVERY=2")
    picture = next(own_tree.glob("val/*/sharp/*.png"))
    whole = picture.read_bytes()
    picture.write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be read as a picture"):
        run.run()
    picture.write_bytes(whole)
    resumed = start(own_tree, tmp_path, "TRAIN.MAX_STEPS=2", "TRAIN.VAL_EVERY=2", resume=True)
    assert (resumed.step, resumed.done) == (2, False)
    assert resumed.run()
    assert [row["step"] for row in rows(tmp_path, "val")] == [2]
    assert resumed.done
    assert torch.load(tmp_path / "last.pt", weights_only=True)["training"]["validated"] == 2
    assert (tmp_path / "best.pt").is_file()


def test_a_run_continues_from_a_numbered_checkpoint_if_the_last_one_is_damaged(tree, tmp_path, capsys):
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path}", *QUICK, "TRAIN.MAX_STEPS=3")
    assert run_training(config, RunOptions()) == 0
    data = bytearray((tmp_path / "last.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "last.pt").write_bytes(data)
    (tmp_path / "best.pt").unlink()
    assert run_training(config, RunOptions("auto")) == 0
    output = capsys.readouterr().out
    assert "last.pt: damaged: its content differs from its checksum" in output
    assert "step_00000002.pt (step 2) is used instead" in output
    assert torch.load(tmp_path / "last.pt", weights_only=True)["training"]["step"] == 3


def test_whole_frames_are_validated_in_tiles(tree, tmp_path, capsys):
    """Frames of 64x80 in tiles of 64 that are blended, and whole, and in the centre crop: three different scores."""
    scores = {}
    for crop, tile in (("none", "64"), ("none", "none"), ("auto", "none"), ("48", "none")):
        folder = tmp_path / f"{crop}_{tile}"
        options = f"TRAIN.VAL_CROP_SIZE={crop}", f"TEST.TILE_SIZE={tile}", "TEST.TILE_OVERLAP=32", "TRAIN.MAX_STEPS=1"
        assert start(tree, folder, *options).run()
        [row] = rows(folder, "val")
        scores[crop, tile] = row["blurred_psnr"], row["psnr"]
    assert scores["none", "64"][0] == scores["none", "none"][0]
    assert len({blurred for blurred, _ in scores.values()}) == 3
    assert scores["none", "64"][1] == pytest.approx(scores["none", "none"][1], abs=0.05)
    with pytest.raises(UserError, match=r"^TRAIN\.VAL_CROP_SIZE = 4096: larger than the frames"):
        start(tree, tmp_path / "large", "TRAIN.VAL_CROP_SIZE=4096")


def test_a_best_checkpoint_that_cannot_be_written_is_made_up_for(tree, tmp_path, monkeypatch):
    """The state that is saved after the error must neither claim the new best score nor leave its row twice."""
    run = start(tree, tmp_path, "TRAIN.MAX_STEPS=2", "TRAIN.VAL_EVERY=1")
    write = run.saves.write_best

    def full():
        if run.step == 2:
            raise UserError("No space left")
        write()

    monkeypatch.setattr(run.saves, "write_best", full)
    monkeypatch.setattr(trainer_module, "validate", lambda *_: {"psnr": 10.0 + run.step, "ssim": 0.5})
    with pytest.raises(UserError, match="No space left"):
        run.run()
    assert torch.load(tmp_path / "best.pt", weights_only=True)["training"]["step"] == 1
    assert torch.load(tmp_path / "last.pt", weights_only=True)["training"]["best"] == 11.0
    assert start(tree, tmp_path, "TRAIN.MAX_STEPS=2", "TRAIN.VAL_EVERY=1", resume=True).run()
    assert torch.load(tmp_path / "best.pt", weights_only=True)["training"]["step"] == 2
    assert [row["step"] for row in rows(tmp_path, "val")] == [1, 2]


def test_a_data_set_that_vanishes_costs_no_step(own_tree, tmp_path):
    run = start(own_tree, tmp_path, "TRAIN.MAX_STEPS=9", "TRAIN.SAVE_EVERY=9")
    one_step = run._one_step

    def vanishing(*arguments):
        one_step(*arguments)
        if run.step == 3:
            shutil.rmtree(own_tree)

    run._one_step = vanishing
    with pytest.raises(UserError):
        run.run()
    assert torch.load(tmp_path / "last.pt", weights_only=True)["training"]["step"] >= 3


def test_a_run_from_a_checkpoint_elsewhere_is_saved_at_once(tree, tmp_path):
    """Killed before its first save, it must not begin at 0 with `--resume auto`."""
    start(tree, tmp_path / "one", "TRAIN.MAX_STEPS=1").run()
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path / 'two'}", *QUICK, "TRAIN.MAX_STEPS=3")
    run = Trainer(config, CPU, tmp_path / "one" / "last.pt")
    run._one_step = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert torch.load(tmp_path / "two" / "last.pt", weights_only=True)["training"]["step"] == 1


@pytest.mark.parametrize("make", [Path.absolute, lambda path: path.with_name("link.pt")])
def test_a_finished_run_is_finished_whatever_leads_to_its_checkpoint(tree, tmp_path, monkeypatch, make):
    start(tree, tmp_path / "run", "TRAIN.MAX_STEPS=1").run()
    (tmp_path / "run" / "link.pt").symlink_to("last.pt")
    monkeypatch.chdir(tmp_path)
    config = small_config(tree, "TRAIN.OUTPUT_DIR=run", *QUICK, "TRAIN.MAX_STEPS=1")
    assert Trainer(config, CPU, make(Path("run/last.pt"))).done


def test_what_a_resumed_run_says_is_on_the_disk_is_there(tree, tmp_path):
    start(tree, tmp_path, "TRAIN.MAX_STEPS=2").run()
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path}", *QUICK, "TRAIN.MAX_STEPS=3")
    run = Trainer(config, CPU, tmp_path / "step_00000002.pt")
    assert run.saves.kept() == f"{tmp_path / 'step_00000002.pt'} holds the last good state, of step 2"


def test_weights_that_explode_are_one_line(tree, tmp_path):
    run = start(tree, tmp_path / "run", "TRAIN.MAX_STEPS=9", "TRAIN.LR=1e30", "TRAIN.MAX_BAD_STEPS=2")
    with pytest.raises(UserError, match=r"not finite for 2 steps in a row.*nothing had been saved yet: lower TRAIN.LR"):
        run.run()


def test_out_of_memory_is_answered_with_what_to_change(tree, tmp_path, monkeypatch):
    """Where nothing can be predicted; see test_memory_watch.py."""

    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory_watch, "step_memory", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(optimiser_step, "run_model", exhausted)
    with pytest.raises(UserError) as caught:
        start(tree, tmp_path / "run", "TRAIN.MAX_STEPS=1").run()
    order = (
        "MEMORY_BUDGET_GB=auto",
        "ADAPTIVE_CHUNK",
        "BATCH_SIZE",
        "CROP_SIZE",
        "CLIP_LEN",
        "CHANNELS_PER_SCALE",
        "ACCUMULATE",
    )
    places = [str(caught.value).index(word) for word in order]
    assert places == sorted(places)


def test_a_failed_save_is_an_error_and_keeps_the_old_file(tree, tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, small_config(tree), {"params": {}})
    old = path.read_bytes()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, small_config(tree), {"params": {}})
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


@pytest.fixture(scope="module")
def finished(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    start(tree, folder, "TRAIN.MAX_STEPS=1").run()
    return folder


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("MODEL.SPIKE_TSA.MLP_RATIO=3", r"MODEL\.SPIKE_TSA\.MLP_RATIO = 2.* there, 3.* here"),
        ("MODEL.USE_SPIKE=false", r"MODEL\.USE_SPIKE = True there, False here"),
        ("DATA.K=8", r"DATA\.K = 4 there, 8 here"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(tree, finished, option, message):
    with pytest.raises(UserError, match=message):
        start(tree, finished, option, resume=True)


def test_what_may_differ_may(tree, finished):
    run = start(tree, finished, "MODEL.ATTN_BACKEND=naive", "TRAIN.MAX_STEPS=7", "TRAIN.LR=0.1", resume=True)
    assert (run.step, run.steps) == (1, 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_bytes(b"zip?"), "damaged, cut short"),
        (lambda p: torch.save({"a": torch.ones(1)}, p), "not a training checkpoint"),
        (lambda p: torch.save([1], p), "holds list"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named(tree, tmp_path, make, message):
    make(tmp_path / "last.pt")
    with pytest.raises(UserError, match=rf"last\.pt: .*{message}"):
        start(tree, tmp_path, resume=True)


def test_where_a_run_goes_on(tree, finished, tmp_path):
    config = small_config(tree)
    assert find_resume("auto", tmp_path, config) is None
    assert find_resume("auto", finished, config) == finished / "last.pt"
    assert find_resume("other.pt", tmp_path, config) == Path("other.pt")
    with pytest.raises(UserError, match="holds a run already; continue it with --resume auto"):
        find_resume(None, finished, config)


def test_the_command_trains_the_twin_without_spikes(tree, tmp_path, capsys):
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path}", "TRAIN.MAX_STEPS=1", "MODEL.USE_SPIKE=false", *QUICK)
    path = tmp_path / "twin.yaml"
    path.write_text(trainer_module.config_to_yaml(config))
    assert train(["--config", str(path), "--attn-backend", "naive"]) == 0
    assert "parameters, 10 samples, steps 0 to 1, 1 x cpu, float32" in capsys.readouterr().out
    before = (tmp_path / "last.pt").read_bytes()
    assert train(["--config", str(path), "--attn-backend", "naive", "--resume", "auto"]) == 0
    assert "all 1 steps are done; raise TRAIN.MAX_STEPS or TRAIN.EPOCHS to go on" in capsys.readouterr().out
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_crop_larger_than_the_frames_is_found_before_anything_is_written(tree, tmp_path):
    with pytest.raises(UserError, match=r"DATA\.CROP_SIZE = 56: larger than the frames of 48x64"):
        start(tree, tmp_path / "run", "DATA.CROP_SIZE=56")
    assert not (tmp_path / "run").exists()


def test_only_training_steps_are_compiled(tree, tmp_path, monkeypatch):
    """One part stands for all: others are compiled alike, by tests/models/test_compiled_parts.py."""
    graphs = []

    def one_part(model):
        return compile_parts(model.get_submodule("vrt.stage2.reshape"), lambda graph, _: graphs.append(graph) or graph)

    torch._dynamo.reset()
    monkeypatch.setattr(trainer_module, "compile_parts", one_part)
    assert start(tree, tmp_path / "plain", "TRAIN.MAX_STEPS=3").run()
    assert not graphs
    assert start(tree, tmp_path / "compiled", "TRAIN.MAX_STEPS=3", "TRAIN.COMPILE=true").run()
    assert len(graphs) == 1
    for plain, compiled in zip(rows(tmp_path / "plain", "train"), rows(tmp_path / "compiled", "train"), strict=True):
        assert compiled["loss"] == pytest.approx(plain["loss"], rel=1e-6)
    assert rows(tmp_path / "compiled", "val")

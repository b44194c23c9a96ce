"""The recipe of the weights: parts that are there are kept, parts that are not whole are made again."""

import pytest

from bench import weights
from spikevrt.config import load_config
from spikevrt.errors import UserError


def test_parts_appear_whole_and_are_made_once(tmp_path, monkeypatch):
    made = []

    def prepared(command):
        arguments = command.arguments
        folder = arguments[arguments.index("--out") + 1]
        (folder / "train" / "clip").mkdir(parents=True)
        made.append(arguments)

    monkeypatch.setattr(weights, "call", prepared)
    (tmp_path / "one.part" / "half").mkdir(parents=True)
    folder = weights.clips(tmp_path / "one", "photos", ["a.png"], ["--seed", 1])
    assert [path.name for path in folder.iterdir()] == ["train"]
    assert weights.clips(tmp_path / "one", "photos", ["a.png"], ["--seed", 1]) == folder
    assert len(made) == 1
    for _ in range(2):
        weights.link(folder / "train" / "clip", tmp_path / "data" / "train" / "clip-one")
    assert (tmp_path / "data" / "train" / "clip-one").samefile(folder / "train" / "clip")


def test_its_options_are_those_of_a_configuration():
    for options in weights.MODELS.values():
        losses = [
            load_config("demo", [*weights.OPTIONS, *stage.options, *options]).train.loss
            for stage in weights.STAGES.values()
        ]
        assert losses == ["psnr", "colour-psnr"]
    others = load_config("demo", [*weights.OPTIONS, *weights.FOR_OTHERS])
    assert (others.train.max_steps, others.train.output_dir, others.data.root) == (None, "runs", None)


def test_what_is_held_out_is_not_trained_on():
    trained = {name.partition(".")[0] for names in weights.PHOTOS.values() for name in names}
    assert weights.HELD_OUT_PHOTO not in trained
    stretches = [stretch for stage in weights.STAGES.values() for stretch in stage.stretches.values()]
    assert stretches
    assert all("carphone" not in stretch.video for stretch in stretches)
    assert all("--train" not in stretch.options for stretch in stretches)  # The default: the first 70%.


def test_a_stage_adds_to_the_clips_of_those_before(tmp_path, monkeypatch):
    def prepared(folder, subcommand, sources, options):
        for split in ("train", "val"):
            (folder / split / "bikes").mkdir(parents=True, exist_ok=True)
        return folder

    monkeypatch.setattr(weights, "clips", prepared)
    monkeypatch.setattr(weights, "carried", lambda package, name: tmp_path / name)
    weights.prepare(tmp_path)
    seen = [{clip.name for clip in (tmp_path / stage / "data" / "train").iterdir()} for stage in weights.STAGES]
    assert len(seen[0]) == 10
    assert seen[0] < seen[1]
    assert all((tmp_path / stage / "data" / "val" / "bikes").is_dir() for stage in weights.STAGES)


def test_a_stage_starts_from_the_weights_of_the_one_before(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(weights, "call", lambda *them: commands.extend(them))
    weights.train(tmp_path, "usual", None, 10)
    weights.train(tmp_path, "wider", "usual", 10)
    inits = [c.arguments[c.arguments.index("--init") + 1] if "--init" in c.arguments else None for c in commands]
    assert inits == [None, None, *(tmp_path / "usual" / name / "last.pt" for name in ("tiny-rgb", "tiny"))]
    assert all("--resume" in command.arguments for command in commands)


def test_a_missing_package_names_the_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"china.jpg of the package sklearn is missing: pip install"):
        weights.carried("sklearn", "china.jpg")

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
        config = load_config("demo", [*weights.OPTIONS, *options])
        assert config.train.loss == "psnr"
    others = load_config("demo", [*weights.OPTIONS, *weights.FOR_OTHERS])
    assert (others.train.max_steps, others.train.output_dir, others.data.root) == (None, "runs", None)


def test_what_is_held_out_is_not_trained_on():
    trained = {name.partition(".")[0] for names in weights.PHOTOS.values() for name in names}
    assert weights.HELD_OUT_PHOTO not in trained
    assert all("carphone" not in stretch.video for stretch in weights.TRAINING.values())
    shares = [stretch.options[stretch.options.index("--train") + 1] for stretch in weights.TRAINING.values()
              if "--train" in stretch.options]  # fmt: skip
    assert not shares  # The default: the first 70%.


def test_a_missing_package_names_the_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"china.jpg of the package sklearn is missing: pip install"):
        weights.carried("sklearn", "china.jpg")

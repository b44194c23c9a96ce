"""The reference of all keys: it is complete, and equal to the one in the documents."""

from pathlib import Path

import pytest

from spikevrt.config import Config
from spikevrt.config.__main__ import main
from spikevrt.config.loader import all_keys
from spikevrt.config.reference import parts
from spikevrt.errors import UserError

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_every_key_is_explained():
    listed = [name for part in parts(Config()) for name in part.keys]
    assert sorted(listed) == sorted(all_keys())
    for part in parts(Config()):
        assert part.does.endswith(".")
        assert all(entry.does.endswith(".") for entry in part.entries)


def test_the_document_is_what_the_command_prints(capsys):
    main(["--markdown"])
    assert capsys.readouterr().out == DOCUMENT.read_text(), "python -m spikevrt.config --markdown writes it anew"


def test_a_section_a_key_and_the_values_of_a_preset(capsys):
    main(["MODEL.FUSE", "TRAIN.LR", "--config", "demo"])
    out = capsys.readouterr().out
    assert "  MODEL.FUSE.HEADS = 2    (integer)\n" in out
    assert "  TRAIN.LR = 0.001    (number)\n      Highest learning rate" in out
    assert "TRAIN.EPOCHS" not in out
    assert "MODEL.VRT" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["TRAIN.LRR"], r"^TRAIN\.LRR: unknown configuration key; did you mean TRAIN\.LR\?$"),
        (["--config", "fsat"], r"^configuration fsat: neither a preset \(default, demo, .*\) nor a readable YAML file"),
    ],
)
def test_a_name_that_is_not_there_is_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        main(arguments)

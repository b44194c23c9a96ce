"""The links, commands and options in the documents exist."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from spikevrt.__main__ import COMMANDS, command_module
from spikevrt.config import load_config, preset_names
from spikevrt.config.loader import ALIASES, all_keys, config_from_tree, tree_of

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(p for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("kernels/*.md")))
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
COMMAND = r"(?:python -m spikevrt\.|spikevrt )"
TYPED = re.compile(rf"^(?:\$ )?{COMMAND}(.+)$|`{COMMAND}([^`\n]+)`", re.MULTILINE)
"""A line of a block, or a command within a sentence."""


def anchors(document: Path) -> set[str]:
    """Headings of a document as links name them."""
    return {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in HEADING.findall(document.read_text())}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_inside_the_project_leads_somewhere(document):
    for target in LINK.findall(document.read_text()):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def typed_commands() -> list[list[str]]:
    """Every command line of ours in the documents, without comments and backquotes."""
    texts = [path.read_text() for path in DOCUMENTS if path.name != "CHANGELOG.md"]
    lines = [line or inside for text in texts for line, inside in TYPED.findall(text)]
    return [shlex.split(line, comments=True) for line in lines if "..." not in line]


@pytest.mark.parametrize("words", typed_commands(), ids=" ".join)
def test_every_command_of_the_documents_has_the_options_that_it_is_typed_with(words, capsys):
    command, *arguments = words
    assert command in COMMANDS
    # A sub-command, where there is one, is the first argument.
    names = [name for name in arguments[:1] if command == "prepare" and not name.startswith("-")]
    with pytest.raises(SystemExit) as left:
        command_module(command).main([*names, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    for option, value in pairwise([*arguments, ""]):
        if option.startswith("--"):
            assert re.search(rf"{option}\b", shown), option
        if option == "--config":
            assert value in (*preset_names(), "FILE", "NAME"), value


def test_the_documents_show_most_commands():
    assert {words[0] for words in typed_commands()} >= {
        "prepare",
        "train",
        "evaluate",
        "deblur",
        "identify",
        "simulate",
    }


# The changelog and the list of cases also name what is gone or wrong.
TEXTS = {path: path.read_text() for path in DOCUMENTS if path.name not in ("CHANGELOG.md", "cases.md")}
YAML = re.compile(r"^ *```yaml\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SECTION = r"(?<![\w.])(?:DATA|MODEL|TRAIN|TEST)"
KEY = re.compile(rf"{SECTION}(?:\.[A-Z_0-9]+)+\b")
OPTION = re.compile(rf"{SECTION}(?:\.[A-Z_0-9]+)+=(?:\[[^\]]*\]|[\w.-]*\w)")
SOURCE = re.compile(r"(?<![\w./])(?:spikevrt|kernels|bench|docs|tests)/[\w./]+\.\w+")
TARGET = re.compile(r"^make ([a-z-]+)", re.MULTILINE)
PLACEHOLDERS = {"TRAIN.X", "tests/interpreter/test_X.py"}
"""Names that stand for others."""
UNKNOWN = "unknown configuration key"
"""A message that is shown, about a key that is not there."""
each_text = pytest.mark.parametrize("document", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))


@each_text
def test_every_configuration_in_the_documents_loads(document):
    for text in YAML.findall(TEXTS[document]):
        config_from_tree(tree_of(dedent(text), document.name))


@each_text
def test_every_key_and_option_in_the_documents_exists(document):
    text = "\n".join(line for line in TEXTS[document].splitlines() if UNKNOWN not in line)
    known = {*all_keys(), *(key.rpartition(".")[0] for key in all_keys()), *ALIASES, *PLACEHOLDERS}
    assert set(KEY.findall(text)) - known == set()
    for option in OPTION.findall(text):
        load_config("default", [option])


@each_text
def test_every_file_and_target_in_the_documents_exists(document):
    files = set(SOURCE.findall(TEXTS[document])) - PLACEHOLDERS
    assert [file for file in files if not (ROOT / file).exists()] == []
    targets = (ROOT / "Makefile").read_text()
    assert [one for one in TARGET.findall(TEXTS[document]) if f"\n{one}:" not in targets] == []


def test_the_example_in_python_runs_as_it_stands(checkpoint, monkeypatch):
    text = (ROOT / "README.md").read_text()
    example = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Restorer" in block)
    frames = np.zeros((3, 41, 57, 3), np.uint8)
    spikes = np.zeros((3, 8, 41, 57), np.uint8)
    names = {"frames": frames, "spikes": spikes}
    exec(example.replace("runs/first/best.pt", str(checkpoint)), names)
    assert names["sharp"].shape == frames.shape
    assert names["frame"].shape == frames.shape[1:]

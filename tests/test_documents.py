"""The links, commands and options in the documents exist."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from spikevrt.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(p for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("kernels/*.md")))
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TYPED = re.compile(r"^(?:\$ )?(?:python -m spikevrt\.|spikevrt )(.+)$", re.MULTILINE)


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
    lines = [line for text in texts for line in TYPED.findall(text)]
    return [shlex.split(line, comments=True) for line in lines if "..." not in line]


@pytest.mark.parametrize("words", typed_commands(), ids=" ".join)
def test_every_command_of_the_documents_has_the_options_that_it_is_typed_with(words, capsys):
    command, *arguments = words
    assert command in COMMANDS
    # A sub-command, where there is one, is the first argument.
    names = [name for name in arguments[:1] if command == "prepare" and not name.startswith("-")]
    with pytest.raises(SystemExit) as left:
        import_module(f"spikevrt.{command}").main([*names, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    for option in (word for word in arguments if word.startswith("--")):
        assert re.search(rf"{option}\b", shown), option


def test_the_documents_show_most_commands():
    assert {words[0] for words in typed_commands()} >= {
        "prepare",
        "train",
        "evaluate",
        "deblur",
        "identify",
        "simulate",
    }

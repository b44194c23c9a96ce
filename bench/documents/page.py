"""Fills templates: every field must be known, and every figure must be shown in every language."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template

from bench.documents.code import code_figures
from bench.documents.memory import Figures
from bench.documents.memory_rows import memory_figures
from bench.documents.model import keys_of, model_figures
from spikevrt.config import load_config
from spikevrt.models import VRTWithSpike
from spikevrt.models.planning import model_without_storage

TEMPLATES = Path(__file__).parent / "templates"
NAMES = ("quick_reference.md", "quick_reference.zh.md")
"""The same document in English and in Chinese."""


class Page(Template):
    """A text with fields as `${parameters.all}` or `${DATA.CLIP_LEN}`."""

    braceidpattern = r"[\w.]+"


def filled(texts: Mapping[str, str], figures: Mapping[str, str], keys: Mapping[str, str]) -> dict[str, str]:
    """Fill texts by name.

    Args:
        texts: templates.
        figures: what every text must show.
        keys: what a text may show too; the others then show it as well.

    Raises:
        ValueError: a field is unknown, a figure is not shown, or the texts show other keys.
    """
    shown = {name: set(Page(text).get_identifiers()) for name, text in texts.items()}
    every = set().union(*shown.values()) | figures.keys()
    for name, used in shown.items():
        if unknown := sorted(used - figures.keys() - keys.keys()):
            raise ValueError(f"{name}: unknown fields {unknown}")
        if missing := sorted(every - used):
            raise ValueError(f"{name}: does not show {missing}")
    return {name: Page(text).substitute({**keys, **figures}) for name, text in texts.items()}


def quick_reference(memory: Mapping[str, Figures]) -> Iterator[tuple[str, str]]:
    """Name and text of the quick reference in each language; `memory` as `memory.kept_figures` gives it."""
    texts = {name: (TEMPLATES / name).read_text() for name in NAMES}
    config = load_config("default")
    model = model_without_storage(config)
    assert isinstance(model, VRTWithSpike)
    figures = model_figures(config, model) | code_figures(model) | memory_figures(memory)
    yield from filled(texts, figures, keys_of(config)).items()

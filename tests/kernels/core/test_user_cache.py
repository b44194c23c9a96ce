"""The user's cache folder: its location, and files that are written completely or not at all."""

import os
import tempfile
from pathlib import Path

import pytest

from spikevrt_kernels.core import user_cache
from spikevrt_kernels.core.user_cache import cache_folder, keep, read_kept


def test_the_folder_is_the_projects_own_then_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setenv("SPIKEVRT_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("SPIKEVRT_CACHE_DIR")
    assert cache_folder() == Path("/caches/spikevrt")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/spikevrt")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache_folder() == Path(tempfile.gettempdir()) / "spikevrt"


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKEVRT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_kept_is_read_again(folder):
    assert read_kept("a", "b.json") is None
    keep({"x": [1, None, "y"]}, "a", "b.json")
    assert read_kept("a", "b.json") == {"x": [1, None, "y"]}
    assert [path.name for path in (folder / "a").iterdir()] == ["b.json"]


def test_a_value_that_is_no_json_leaves_what_was_there(folder):
    keep([1], "a.json")
    with pytest.raises(TypeError):
        keep([object()], "a.json")
    assert read_kept("a.json") == [1]
    assert [path.name for path in folder.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPIKEVRT_CACHE_DIR", str(tmp_path / "file"))
    keep([1], "a.json")
    assert read_kept("a.json") is None


def test_other_sources_are_other_kernels(tmp_path):
    (tmp_path / "kernel.py").write_text("1")
    found = user_cache.sources.__wrapped__(tmp_path)
    (tmp_path / "kernel.py").write_text("2")
    assert user_cache.sources.__wrapped__(tmp_path) != found


def test_nothing_is_kept_where_there_is_no_folder_at_all(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    for name in ("SPIKEVRT_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.setattr("tempfile.gettempdir", none)
    keep(1, "a.json")
    assert read_kept("a.json") is None

"""Fixtures shared by all tests, and the table of conformance errors after a run."""

import os
import random
import shutil
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from spikevrt.config import config_to_tree
from tests.small_data import make_tree, small_config

CONFORMANCE_ERRORS = pytest.StashKey[list[tuple[str, float, float]]]()


def pytest_configure(config: pytest.Config) -> None:
    # Workers of a parallel run share the cores.
    if os.environ.get("PYTEST_XDIST_WORKER"):
        torch.set_num_threads(1)
    config.stash[CONFORMANCE_ERRORS] = []


def data_folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: the reference data are not at hand")
    return Path(value)


@pytest.fixture(autouse=True)
def _same_random_numbers(request: pytest.FixtureRequest) -> None:
    """Each test draws the same numbers in every run, whatever ran before it in its process."""
    seed = zlib.crc32(request.node.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_terminal() -> Iterator[None]:
    """Tests of signals hold under nohup and in the background too, where a shell lets processes ignore some."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    ignored = [number for number in usual if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, usual[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests find out about this machine stays out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKEVRT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def conformance_dir() -> Path:
    return data_folder("SPIKEVRT_CONFORMANCE_DIR")


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    return data_folder("SPIKEVRT_REAL_DATA_DIR")


@pytest.fixture
def within(request: pytest.FixtureRequest, record_property):
    """within(name, error, tolerance): asserts and notes the figure for the table at the end of the run."""

    def check(name: str, error: float, tolerance: float) -> None:
        record_property("conformance", (name, float(error), float(tolerance)))
        assert error <= tolerance, f"{name}: {error:.3e} > {tolerance:.1e}"

    return check


def pytest_terminal_summary(terminalreporter) -> None:
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for key, value in report.user_properties
        if key == "conformance"
    ]
    if not rows:
        return
    terminalreporter.section("conformance: worst error against its tolerance")
    for name, error, tolerance in sorted(rows):
        terminalreporter.write_line(f"{name:<58} {error:10.2e} <= {tolerance:.1e}")


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set that tests only read."""
    return make_tree(tmp_path_factory.mktemp("data"))


@pytest.fixture
def own_tree(tree: Path, tmp_path: Path) -> Path:
    """A copy of the small data set to damage."""
    return Path(shutil.copytree(tree, tmp_path / "tree"))


@pytest.fixture(scope="module")
def checkpoint(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model."""
    from spikevrt.models import build_model  # Tests of kernels alone do without it.

    config = small_config(tree)
    path = tmp_path_factory.mktemp("model") / "last.pt"
    torch.save({"config": config_to_tree(config), "params": build_model(config).state_dict()}, path)
    return path

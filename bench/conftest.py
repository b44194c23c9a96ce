"""Options and fixtures of the benchmarks, a line about the machine, and the table at the end."""

import platform
from typing import Any

import pytest
import torch

from bench.results.measure import Compare
from bench.results.rows import JSON_KEY, Row, tables, to_json
from bench.workloads.workload import ALL_ENTRIES, BACKENDS, BY_HAND
from spikevrt.system.device import settle_float32
from spikevrt_kernels.core.backends import why_not_triton

RESULT_ROWS = pytest.StashKey[list[Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--attn-backend", choices=(*ALL_ENTRIES, BY_HAND), help="measure one entry of every comparison instead of all"
    )
    parser.addoption("--full", action="store_true", help="the model's own sizes on the CPU too (CUDA: always)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULT_ROWS] = []
    settle_float32()
    # A benchmark that cannot run here adds a row of predictions and does not use the fixture.
    config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used")


def full_size(config: pytest.Config) -> bool:
    """Whether the benchmarks use the model's own sizes."""
    return torch.cuda.is_available() or bool(config.getoption("--full"))


def size_line(config: pytest.Config) -> str:
    """A line that says how large the shapes are."""
    if full_size(config):
        return "sizes: the model's own (256x256 at the first scale)"
    return (
        "sizes: reduced, a quarter of the model's sides: some ten minutes on two cores without a GPU (--full takes the "
        "model's own, sixteen times the work)"
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    machine = f"machine: {platform.machine()}, {torch.get_num_threads()} threads, {device}, torch {torch.__version__}"
    return [machine, size_line(config)]


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise `attn_backend` with the backends that run here, or with the one of `--attn-backend`.

    A module may replace them by ENTRIES, or add to them by MORE_ENTRIES.

    This runs last of all hooks, so that the entries of one comparison are measured one after the other.
    """
    if "attn_backend" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("--attn-backend")
    runnable = BACKENDS if why_not_triton() is None else BACKENDS[:-1]
    entries = getattr(metafunc.module, "ENTRIES", (*runnable, *getattr(metafunc.module, "MORE_ENTRIES", ())))
    metafunc.parametrize("attn_backend", [e for e in entries if chosen in (None, e)])


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """The rows of this run, for the table and the JSON file; a benchmark appends to it."""
    return request.config.stash[RESULT_ROWS]


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the benchmarks use the model's own sizes."""
    return full_size(request.config)


@pytest.fixture
def device() -> str:
    """`cuda` if there is a CUDA device, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def dtype(device: str) -> torch.dtype:
    """Type of features and weights: bfloat16 on CUDA, float32 on the CPU."""
    return torch.bfloat16 if device == "cuda" else torch.float32


@pytest.fixture
def compare(benchmark: Any, attn_backend: str, rows: list[Row], dtype: torch.dtype, device: str) -> Compare:
    """A function that measures the test's entry, or predicts it if it cannot run here."""
    return Compare(benchmark, attn_backend, rows, dtype, device)


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    found = config.stash[RESULT_ROWS]
    output_json[JSON_KEY] = to_json(found)
    output_json["machine_info"]["spikevrt"] = pytest_report_header(config)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    found = config.stash[RESULT_ROWS]
    if not found:
        return
    terminalreporter.section("time, memory and traffic by entry")
    for line in (*pytest_report_header(config), "", *tables(found)):
        terminalreporter.write_line(line)

"""Options of the suite, and the line about the machine that figures belong to."""

import platform

import pytest
import torch

BACKENDS = ("naive", "sdpa")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--attn-backend", choices=BACKENDS, help="measure one attention backend instead of all")


def pytest_report_header(config: pytest.Config) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    return f"machine: {platform.machine()}, {torch.get_num_threads()} threads, {device}, torch {torch.__version__}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "attn_backend" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--attn-backend")
        metafunc.parametrize("attn_backend", [chosen] if chosen else BACKENDS)

"""Numba kernels where the disk cache cannot be written."""

from numba.core.dispatcher import Dispatcher

from spikevrt_kernels.core.numba_jit import compiled


def double(x):
    return 2 * x


def test_a_kernel_is_kept_and_runs():
    kernel = compiled()(double)
    assert kernel(21) == 42
    assert kernel._cache.cache_path


def test_a_kernel_runs_where_no_folder_can_be_written(monkeypatch):
    def refuse(self):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(Dispatcher, "enable_caching", refuse)
    assert compiled()(double)(21) == 42

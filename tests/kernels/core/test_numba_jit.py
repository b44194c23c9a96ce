"""Numba kernels where the disk cache cannot be written."""

from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target

from spikevrt_kernels.core import numba_jit
from spikevrt_kernels.core.numba_jit import compiled, compiles_for


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


def test_machine_code_is_kept_for_the_sources_beside_a_kernel(monkeypatch):
    kernel, codegen = compiled()(double), cpu_target.target_context.codegen()
    keys = {kernel._cache._index_key((), codegen)}
    for digest in ("one", "two"):
        monkeypatch.setattr(numba_jit, "sources", lambda folder, digest=digest: digest)
        keys.add(kernel._cache._index_key((), codegen))
    assert len(keys) == 3


def test_features_of_processors_are_those_that_numba_compiles_for(monkeypatch):
    codegen = cpu_target.target_context.codegen()
    monkeypatch.setattr(type(codegen), "magic_tuple", lambda self: ("", "", "+avx,+fma,-avx2"))
    assert compiles_for.__wrapped__("avx", "fma")
    assert not compiles_for.__wrapped__("avx2", "fma")

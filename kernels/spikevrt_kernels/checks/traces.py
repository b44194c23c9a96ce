"""Checks leave the run as it was."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch


@contextmanager
def without_traces(device: torch.device) -> Iterator[None]:
    """Random state as before; no memory kept, and no peak that the run did not reach itself."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            gc.collect()
            if device.type == "cuda":
                # A kernel that broke the device has been named already: freeing must not hide that.
                with suppress(RuntimeError):
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats(device)

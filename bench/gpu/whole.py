"""The whole model: kernels in their places, a training step, what `auto` takes."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.gpu.rows import ReportRow, row_of
from bench.gpu.setting import Setting
from spikevrt.config import Config
from spikevrt.models import build_model, choose_backends, run_model
from spikevrt.models.backends.choose import Backends
from spikevrt.system.device import autocast
from spikevrt.training.step_cost import make_step, predicted_training_peak
from spikevrt_kernels.checks.comparison import relative_errors

STEPS = 3
SMALL = ("DATA.CROP_SIZE=64", "TRAIN.BATCH_SIZE=1", "MODEL.VRT.DROP_PATH=0")
COMPILED = ("DATA.CROP_SIZE=128",)
"""The least crop of which every kernel of a step of 256 is compiled."""
FACTOR, FLOOR = 3.0, 1e-3
"""What `triton` may be off in units of what `sdpa` is off, both from float32; and what always passes."""
KERNELS = 12
"""The longest of a step that are shown."""
OURS = ("temporal_", "window_attention")
PERTURBATION = 0.02
"""Layers that start at zero would hide what is before them."""


class Pass(NamedTuple):
    """What one pass of the model gives, float32."""

    out: Tensor
    gradients: Tensor
    """Of all parameters, in one vector."""


def distance(setting: Setting) -> Iterator[ReportRow]:
    """Output and all gradients of a small clip: `triton`'s distance from float32 beside that of `sdpa`."""
    config = setting.configuration(*SMALL)
    passes = Passes(setting, config)
    exact = passes.run("naive", None)
    off = {}
    for entry in ("sdpa", "triton"):
        found = passes.run(entry, setting.half)
        off[entry] = [relative_errors(a, b).whole for a, b in zip(found, exact, strict=True)]
    right = all(own <= FACTOR * other + FLOOR for own, other in zip(off["triton"], off["sdpa"], strict=True))
    said = ", ".join(f"{entry} {out:.1e} and {gradients:.1e}" for entry, (out, gradients) in off.items())
    size = config.data.crop_size
    text = f"whole model, {size}x{size}, distance from float32 (output, all gradients): {said}"
    yield ReportRow("whole", text, bad=not right, keep=True)


class Passes:
    """Passes of one model with one set of weights over one clip."""

    def __init__(self, setting: Setting, config: Config) -> None:
        self.setting, self.config = setting, config
        torch.manual_seed(0)
        T, S, device = config.data.clip_len, config.data.crop_size, setting.device
        self.blur = torch.rand(1, T, 3, S, S, device=device)
        self.voxels = torch.rand(1, T, config.data.k, S, S, device=device)
        self.weights = {name: perturbed(x) for name, x in self.model("naive").state_dict().items()}

    def model(self, entry: str) -> nn.Module:
        """A fresh model of one backend."""
        backend = self.setting.backend(entry)
        return build_model(self.config, False, Backends(backend, backend)).to(self.setting.device).train()

    def run(self, entry: str, half: torch.dtype | None) -> Pass:
        """Forward and backward of the correction's mean square."""
        model = self.model(entry)
        model.load_state_dict(self.weights)
        with autocast(self.setting.device, half):
            out = run_model(model, self.blur, self.voxels) - self.blur
        out.float().square().mean().backward()
        gradients = [p.grad.flatten().float() for p in model.parameters() if p.grad is not None]
        return Pass(out.detach().float(), torch.cat(gradients))


def perturbed(x: Tensor) -> Tensor:
    """Weights with noise; vectors and integers as they are."""
    return x + PERTURBATION * torch.randn_like(x) if x.is_floating_point() and x.ndim > 1 else x


def compiled(setting: Setting) -> Iterator[ReportRow]:
    """One small training step, for its kernels: they are on disk when the step is timed."""
    step, build = new_step(setting, "triton", COMPILED)
    yield ReportRow("note", f"kernels of a training step: model {build:.1f} s, first step {spent(setting, step):.1f} s")


def new_step(setting: Setting, entry: str, options: tuple[str, ...] = ()) -> tuple[Callable[[], None], float]:
    """A training step of one backend, and the seconds to make it."""
    torch.manual_seed(0)
    start, backend = time.perf_counter(), setting.backend(entry)
    config = setting.configuration(*options)
    model = build_model(config, False, Backends(backend, backend)).to(setting.device)
    return make_step(model, config, setting.device, setting.half), time.perf_counter() - start


def spent(setting: Setting, step: Callable[[], None]) -> float:
    """Seconds of one step until its work is done."""
    start = time.perf_counter()
    step()
    setting.synchronise()
    return time.perf_counter() - start


def step(setting: Setting, entry: str) -> Iterator[ReportRow]:
    """One training step of one backend: time, the host's share, peak memory, and where the time goes."""
    run, _ = new_step(setting, entry)
    first = spent(setting, run)
    if not setting.dry:
        torch.cuda.reset_peak_memory_stats()
    host, whole = zip(*(host_and_whole(setting, run) for _ in range(STEPS)), strict=True)
    peak = None if setting.dry else torch.cuda.max_memory_allocated()
    seconds, returns = statistics.median(whole), statistics.median(host)
    size = "not counted here" if peak is None else f"{peak / 2**30:.2f} GiB"
    text = f"training step, {entry}: {seconds:.3f} s, the host returns after {returns:.3f} s, peak {size}"
    text += f", the first one {first:.1f} s"
    yield row_of("step", text, keep=True, entry=entry, seconds=seconds, host=returns, first=first, peak=peak)
    if not setting.dry and entry != "naive":
        yield from profile(setting, entry, run)


def host_and_whole(setting: Setting, run: Callable[[], None]) -> tuple[float, float]:
    """Seconds until the host is free again, and until the work is done."""
    start = time.perf_counter()
    run()
    returned = time.perf_counter() - start
    setting.synchronise()
    return returned, time.perf_counter() - start


def profile(setting: Setting, entry: str, run: Callable[[], None]) -> Iterator[ReportRow]:
    """The longest kernels of a step, and the sum of them all."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
        run()
        setting.synchronise()
    events = sorted(found.key_averages(), key=lambda e: -e.self_device_time_total)
    total = sum(e.self_device_time_total for e in events) / 1e3
    ours = sum(e.self_device_time_total for e in events if e.key.startswith(OURS)) / 1e3
    launches = sum(e.count for e in events)
    text = f"{entry}: {total:.0f} ms in {launches} kernels and copies of a step, of them our kernels {ours:.0f} ms"
    yield row_of("kernel", text, keep=True, entry=entry, total_ms=total, ours_ms=ours, launches=launches)
    for event in events[:KERNELS]:
        ms = event.self_device_time_total / 1e3
        yield row_of(
            "kernel", f"  {ms:8.1f} ms {event.count:5d} x {event.key[:80]}", entry=entry, ms=ms, launches=event.count
        )


def predicted(setting: Setting, entry: str) -> Iterator[ReportRow]:
    """The peak memory of that step, predicted on tensors without storage: a CPU's work."""
    config = replace(setting.config, model=replace(setting.config.model, attn_backend=entry))
    size = predicted_training_peak(config, torch.bfloat16)
    yield row_of("peak", f"predicted peak of a training step, {entry}: {size / 2**30:.2f} GiB", entry=entry, bytes=size)


def auto(setting: Setting) -> Iterator[ReportRow]:
    """What `auto` takes, and after how long."""
    start = time.perf_counter()
    taken = choose_backends(setting.config, setting.device)
    yield ReportRow("note", f"auto takes {taken._asdict()} after {time.perf_counter() - start:.0f} s", keep=True)

"""Parts on the whole model: distance from float32, a training step, a short training, the choice of `auto`."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.gpu.part import Finding, finding_of, python
from bench.gpu.setting import Setting
from spikevrt.config import Config
from spikevrt.models import build_model, choose_backends, run_model
from spikevrt.system.device import autocast
from spikevrt.training.step_cost import make_step, predicted_training_peak
from spikevrt_kernels.checks.comparison import relative_errors
from spikevrt_kernels.core.names import Backends
from spikevrt_kernels.registry import KERNEL_PREFIXES

TIMED_STEPS = 3
SMALL_CROP = ("DATA.CROP_SIZE=64", "TRAIN.BATCH_SIZE=1", "MODEL.VRT.DROP_PATH=0")
COMPILED_CROP = ("DATA.CROP_SIZE=128",)
"""The smallest crop that needs the same compiled kernels as a crop of 256."""
ERROR_FACTOR, ERROR_FLOOR = 3.0, 1e-3
"""Allowed error of `triton`: this factor times that of `sdpa`, plus this constant; both against float32."""
KERNELS_SHOWN = 12
"""Number of kernels that are shown, longest first."""
PERTURBATION = 0.02
"""Standard deviation of noise on weights: layers that are initialised with zeros would hide those before them."""
TRAINING_STEPS, DRY_TRAINING_STEPS = 60, 2
PHOTOS = (("train", ("astronaut", "coffee")), ("val", ("chelsea",)))
TRAINING_OPTIONS = ("DATA.CROP_SIZE=128", "TRAIN.NUM_WORKERS=8", "TRAIN.WARMUP_STEPS=10")
DRY_TRAINING_OPTIONS = ("DATA.CROP_SIZE=48", "TRAIN.BATCH_SIZE=1")


class Pass(NamedTuple):
    """Results of one forward and backward pass, float32."""

    out: Tensor
    gradients: Tensor
    """Gradients of all parameters in one vector."""


def distance(setting: Setting) -> Iterator[Finding]:
    """Compare output and all gradients of a small clip with float32, for `triton` and for `sdpa`."""
    config = setting.configuration(*SMALL_CROP)
    passes = Passes(setting, config)
    exact = passes.run("naive", None)
    off = {}
    for entry in ("sdpa", "triton"):
        found = passes.run(entry, setting.half)
        off[entry] = [relative_errors(a, b).whole for a, b in zip(found, exact, strict=True)]
    right = all(
        own <= ERROR_FACTOR * other + ERROR_FLOOR for own, other in zip(off["triton"], off["sdpa"], strict=True)
    )
    said = ", ".join(f"{entry} {out:.1e} and {gradients:.1e}" for entry, (out, gradients) in off.items())
    size = config.data.crop_size
    text = f"whole model, {size}x{size}, distance from float32 (output, all gradients): {said}"
    yield Finding("whole", text, bad=not right, keep=True)


class Passes:
    """Runs models of different backends with the same weights on the same clip."""

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
        return build_model(self.config, False, Backends.of(backend)).to(self.setting.device).train()

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
    """A matrix or kernel of weights with noise; vectors and integers unchanged."""
    return x + PERTURBATION * torch.randn_like(x) if x.is_floating_point() and x.ndim > 1 else x


def compiled(setting: Setting) -> Iterator[Finding]:
    """Run a small training step, so that its kernels are compiled before the step is timed."""
    step, build = new_step(setting, "triton", COMPILED_CROP)
    yield Finding("note", f"kernels of a training step: model {build:.1f} s, first step {spent(setting, step):.1f} s")


def new_step(setting: Setting, entry: str, options: tuple[str, ...] = ()) -> tuple[Callable[[], None], float]:
    """A function that runs a training step by one backend, and the seconds to build the model."""
    torch.manual_seed(0)
    start, backend = time.perf_counter(), setting.backend(entry)
    config = setting.configuration(*options)
    model = build_model(config, False, Backends.of(backend)).to(setting.device)
    return make_step(model, config, setting.device, setting.half), time.perf_counter() - start


def spent(setting: Setting, step: Callable[[], None]) -> float:
    """Seconds of one step, until the device has finished."""
    start = time.perf_counter()
    step()
    setting.synchronise()
    return time.perf_counter() - start


def step(setting: Setting, entry: str) -> Iterator[Finding]:
    """Measure a training step by one backend: time, time of the host, peak memory, and the longest kernels."""
    run, _ = new_step(setting, entry)
    first = spent(setting, run)
    if not setting.dry:
        torch.cuda.reset_peak_memory_stats()
    host, whole = zip(*(host_and_whole(setting, run) for _ in range(TIMED_STEPS)), strict=True)
    peak = None if setting.dry else torch.cuda.max_memory_allocated()
    seconds, returns = statistics.median(whole), statistics.median(host)
    size = "not counted here" if peak is None else f"{peak / 2**30:.2f} GiB"
    text = f"training step, {entry}: {seconds:.3f} s, the host returns after {returns:.3f} s, peak {size}"
    text += f", the first one {first:.1f} s"
    yield finding_of("step", text, keep=True, entry=entry, seconds=seconds, host=returns, first=first, peak=peak)
    if not setting.dry and entry != "naive":
        yield from profile(setting, entry, run)


def host_and_whole(setting: Setting, run: Callable[[], None]) -> tuple[float, float]:
    """Seconds until the call returns, and until the device has finished."""
    start = time.perf_counter()
    run()
    returned = time.perf_counter() - start
    setting.synchronise()
    return returned, time.perf_counter() - start


def profile(setting: Setting, entry: str, run: Callable[[], None]) -> Iterator[Finding]:
    """Profile a step: the total time of its kernels, and the longest ones."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
        run()
        setting.synchronise()
    events = sorted(found.key_averages(), key=lambda e: -e.self_device_time_total)
    total = sum(e.self_device_time_total for e in events) / 1e3
    ours = sum(e.self_device_time_total for e in events if e.key.startswith(KERNEL_PREFIXES)) / 1e3
    launches = sum(e.count for e in events)
    text = f"{entry}: {total:.0f} ms in {launches} kernels and copies of a step, of them our kernels {ours:.0f} ms"
    yield finding_of("kernel", text, keep=True, entry=entry, total_ms=total, ours_ms=ours, launches=launches)
    for event in events[:KERNELS_SHOWN]:
        ms = event.self_device_time_total / 1e3
        yield finding_of(
            "kernel", f"  {ms:8.1f} ms {event.count:5d} x {event.key[:80]}", entry=entry, ms=ms, launches=event.count
        )


def predicted(setting: Setting, entry: str) -> Iterator[Finding]:
    """Peak memory of the training step, predicted on tensors without storage; needs no GPU."""
    config = replace(setting.config, model=replace(setting.config.model, attn_backend=entry))
    size = predicted_training_peak(config, torch.bfloat16)
    yield finding_of(
        "peak", f"predicted peak of a training step, {entry}: {size / 2**30:.2f} GiB", entry=entry, bytes=size
    )


def auto(setting: Setting) -> Iterator[Finding]:
    """The backends that `auto` chooses, and how long the choice takes."""
    start = time.perf_counter()
    taken = choose_backends(setting.config, setting.device)
    yield Finding("note", f"auto takes {taken._asdict()} after {time.perf_counter() - start:.0f} s", keep=True)


def data(setting: Setting, scratch: str) -> Iterator[Finding]:
    """Make a small data set from photographs that scikit-image includes."""
    root = Path(scratch) / "data"
    for split, names in PHOTOS:
        photos = ["photos", *names, "--split", split, "--out", str(root)]
        subprocess.run(python("spikevrt.prepare", *photos), check=True)
    yield Finding("note", f"data: {sum(1 for _ in root.rglob('*.png'))} pictures")


def train(setting: Setting, scratch: str, entry: str) -> Iterator[Finding]:
    """Train `fast` for a few steps: losses, share of time spent waiting for data, PSNR."""
    folder, steps = Path(scratch) / f"run_{entry}", DRY_TRAINING_STEPS if setting.dry else TRAINING_STEPS
    start = time.perf_counter()
    command = train_command(setting, Path(scratch) / "data", folder, entry, steps)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    print(done.stdout)
    code, last = done.returncode, (done.stdout.strip().splitlines() or [""])[-1][:200]
    records = logged(folder / "log.jsonl")
    losses = " ".join(f"{record['loss']:.5f}" for record in records if record["kind"] == "train")
    scores = " ".join(f"{record['psnr']:.2f} dB" for record in records if record["kind"] == "val")
    waits = [record.get("wait_share") for record in records if record["kind"] == "train"][-1:]
    seconds = time.perf_counter() - start
    text = f"training, {steps} steps, {entry}: {seconds:.0f} s, losses {losses}, validation {scores}, data wait {waits}"
    yield Finding("note", text if code == 0 else f"training, {entry}: code {code}: {last}", bad=code != 0, keep=True)


def train_command(setting: Setting, root: Path, folder: Path, entry: str, steps: int) -> tuple[str, ...]:
    """The command of a short training."""
    options = [f"DATA.ROOT={root}", f"TRAIN.OUTPUT_DIR={folder}", f"TRAIN.MAX_STEPS={steps}", "TRAIN.LOG_EVERY=10"]
    options += [
        "TRAIN.VAL_EVERY=1000",
        "TRAIN.SAVE_EVERY=1000",
        *(DRY_TRAINING_OPTIONS if setting.dry else TRAINING_OPTIONS),
    ]
    device = ("--device", "cpu") if setting.dry else ()
    config = "demo" if setting.dry else "fast"
    backend = ("--attn-backend", setting.backend(entry))
    return python("spikevrt.train", "--config", config, *backend, *device, "--opts", *options)


def logged(path: Path) -> list[dict[str, Any]]:
    """The records of a training log; empty if the training did not write one."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

"""A short training from files: pictures to clips, a few steps by each backend, and one validation."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.gpu.part import python
from bench.gpu.rows import ReportRow
from bench.gpu.setting import Setting

STEPS, DRY_STEPS = 60, 2
PHOTOS = (("train", ("astronaut", "coffee")), ("val", ("chelsea",)))
OPTIONS = ("DATA.CROP_SIZE=128", "TRAIN.NUM_WORKERS=8", "TRAIN.WARMUP_STEPS=10")
DRY_OPTIONS = ("DATA.CROP_SIZE=48", "TRAIN.BATCH_SIZE=1")


def data(setting: Setting, scratch: str) -> Iterator[ReportRow]:
    """Makes a small data set from photographs that scikit-image carries."""
    root = Path(scratch) / "data"
    for split, names in PHOTOS:
        photos = ["photos", *names, "--split", split, "--out", str(root)]
        subprocess.run(python("spikevrt.prepare", *photos), check=True)
    yield ReportRow("note", f"data: {sum(1 for _ in root.rglob('*.png'))} pictures")


def run(setting: Setting, scratch: str, entry: str) -> Iterator[ReportRow]:
    """Trains `fast` for a few steps: losses, the share of time that data took, PSNR."""
    folder, steps = Path(scratch) / f"run_{entry}", DRY_STEPS if setting.dry else STEPS
    start = time.perf_counter()
    command = train_command(setting, Path(scratch) / "data", folder, entry, steps)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    print(done.stdout)
    code, last = done.returncode, (done.stdout.strip().splitlines() or [""])[-1][:200]
    rows = logged(folder / "log.jsonl")
    losses = " ".join(f"{row['loss']:.5f}" for row in rows if row["kind"] == "train")
    scores = " ".join(f"{row['psnr']:.2f} dB" for row in rows if row["kind"] == "val")
    waits = [row.get("wait_share") for row in rows if row["kind"] == "train"][-1:]
    seconds = time.perf_counter() - start
    text = f"training, {steps} steps, {entry}: {seconds:.0f} s, losses {losses}, validation {scores}, data wait {waits}"
    yield ReportRow("note", text if code == 0 else f"training, {entry}: code {code}: {last}", bad=code != 0, keep=True)


def train_command(setting: Setting, root: Path, folder: Path, entry: str, steps: int) -> tuple[str, ...]:
    """The command of a short training."""
    options = [f"DATA.ROOT={root}", f"TRAIN.OUTPUT_DIR={folder}", f"TRAIN.MAX_STEPS={steps}", "TRAIN.LOG_EVERY=10"]
    options += ["TRAIN.VAL_EVERY=1000", "TRAIN.SAVE_EVERY=1000", *(DRY_OPTIONS if setting.dry else OPTIONS)]
    device = ("--device", "cpu") if setting.dry else ()
    config = "demo" if setting.dry else "fast"
    backend = ("--attn-backend", setting.backend(entry))
    return python("spikevrt.train", "--config", config, *backend, *device, "--opts", *options)


def logged(path: Path) -> list[dict[str, Any]]:
    """The rows of a training's log; none where it did not come so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

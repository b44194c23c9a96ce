"""Finds the exposure of each RGB frame in recordings that hold more than one."""

import csv
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from spikevrt.config import RecordingConfig
from spikevrt.errors import UserError

TABLE_NAME = "windows.csv"
"""Table next to the recordings: `stem,start,length`, in spike frames of the recording."""
TABLE_COLUMNS = ["stem", "start", "length"]


def exposures_for(folder: Path, stems: Sequence[str], recording: RecordingConfig) -> dict[str, slice]:
    """The exposure of every frame, from `windows.csv` or from the two frame rates of a continuous recording.

    Args:
        folder: folder of the recordings.
        stems: stems of the RGB frames, in order of time.
        recording: DATA.RECORDING.

    Returns:
        Spike frames by stem; empty if every file is one exposure.

    Raises:
        UserError: a frame has no exposure, or a continuous recording has no rates.
    """
    if (folder / TABLE_NAME).is_file():
        exposures = read_exposure_table(folder / TABLE_NAME)
        missing = [stem for stem in stems if stem not in exposures]
        if missing:
            raise UserError(
                f"{folder / TABLE_NAME}: no exposure for frame {missing[0]} ({len(missing)} of {len(stems)}); "
                "add its line"
            )
        return {stem: exposures[stem] for stem in stems}
    if recording.layout == "files":
        return {}
    if recording.spike_rate is None or recording.frame_rate is None:
        raise UserError(
            f"{folder}: DATA.RECORDING.LAYOUT = continuous needs to know which spikes belong to which frame; set "
            f"DATA.RECORDING.SPIKE_RATE and DATA.RECORDING.FRAME_RATE, or write {TABLE_NAME} there "
            f"({','.join(TABLE_COLUMNS)})"
        )
    step = Fraction(recording.spike_rate) / Fraction(recording.frame_rate)
    return dict(zip(stems, clock_exposures(len(stems), step, recording.length), strict=True))


def clock_exposures(frames: int, step: Fraction, length: int | None, moments: Sequence[Fraction] = ()) -> list[slice]:
    """Exposures from the rates: frame i starts at spike frame round(i * step) and lasts `length` or until the next.

    Where frames are unevenly spaced, `moments` are their times instead of i; the last one lasts one `step`.
    """
    clock = [*moments, moments[-1] + 1] if moments else range(frames + 1)
    starts = [round(moment * step) for moment in clock]
    stops = starts[1:] if length is None else [start + length for start in starts]
    if length is None and step < 1:
        raise UserError(f"DATA.RECORDING: {float(step):.3g} spike frames from one RGB frame to the next; at least 1")
    exposures = [slice(starts[i], stops[i]) for i in range(frames)]
    empty = [i for i, exposure in enumerate(exposures) if exposure.start == exposure.stop]
    if empty:
        raise UserError(f"DATA.RECORDING: no spike frame from RGB frame {empty[0]} to the next; set LENGTH")
    return exposures


def read_exposure_table(path: Path) -> dict[str, slice]:
    """Read the table in a `windows.csv`."""
    exposures: dict[str, slice] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected lines of {','.join(TABLE_COLUMNS)}") from None
    if not rows or rows[0] != TABLE_COLUMNS:
        raise UserError(f"{path}: the first line must be {','.join(TABLE_COLUMNS)}")
    for number, row in enumerate(rows[1:], 2):
        try:
            stem, start, length = row[0], int(row[1]), int(row[2])
        except (IndexError, ValueError):
            stem, start, length = "", -1, 0
        if len(row) != len(TABLE_COLUMNS) or start < 0 or length < 1 or stem in exposures:
            raise UserError(
                f"{path}: line {number} must be {','.join(TABLE_COLUMNS)} with one line per frame, not {row}"
            )
        exposures[stem] = slice(start, start + length)
    return exposures


def write_exposure_table(folder: Path, exposures: dict[str, slice]) -> None:
    """Write `windows.csv` into the folder of the recordings."""
    with (folder / TABLE_NAME).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TABLE_COLUMNS)
        writer.writerows([stem, exposure.start, exposure.stop - exposure.start] for stem, exposure in exposures.items())

"""Finds the exposure of each RGB frame in recordings that hold more than one."""

import csv
import io
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from spikevrt.config import RecordingConfig
from spikevrt.config.written import decoded
from spikevrt.errors import UserError, quoted

TABLE_NAME = "windows.csv"
"""Table next to the recordings: `stem,start,length`, in spike frames of the recording."""
TABLE_COLUMNS = ["stem", "start", "length"]
SEPARATORS = (";", "\t")
"""What may stand between the columns instead of a comma."""
COUNT = re.compile(r"([0-9]{1,15})(\.0*)?")
"""A number of spike frames: 8, or 8.0 as some tools write it."""
LONGEST_STEM = 255
"""Characters of a stem: no file name is longer."""
LARGEST_TABLE = 1 << 23
"""Bytes of a table; this many hold hundreds of thousands of lines, and are read within seconds."""


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
        raise UserError(
            f"DATA.RECORDING: {float(step):.3g} spike frames from one RGB frame to the next, at least 1 is needed; "
            "check SPIKE_RATE and FRAME_RATE, or set LENGTH"
        )
    exposures = [slice(starts[i], stops[i]) for i in range(frames)]
    empty = [i for i, exposure in enumerate(exposures) if exposure.start == exposure.stop]
    if empty:
        raise UserError(f"DATA.RECORDING: no spike frame from RGB frame {empty[0]} to the next; set LENGTH")
    return exposures


def read_exposure_table(path: Path) -> dict[str, slice]:
    """Read the table in a `windows.csv`, also as a spreadsheet writes it: UTF-16, semicolons, quotes, empty lines.

    Raises:
        UserError: the file cannot be read or is longer than `LARGEST_TABLE`, or a line is not stem, start, length.
    """
    rows = table_rows(path)
    if not rows or [cell.lower() for cell in rows[0][1]] != TABLE_COLUMNS:
        raise UserError(f"{path}: the first line must be {','.join(TABLE_COLUMNS)}")
    exposures: dict[str, slice] = {}
    for number, row in rows[1:]:
        numbers = [COUNT.fullmatch(cell) for cell in row[1:]]
        start, length = [int(match[1]) if match else -1 for match in numbers] if len(row) == 3 else (-1, -1)
        if not 0 < len(row[0]) <= LONGEST_STEM or start < 0 or length < 1 or row[0] in exposures:
            raise UserError(
                f"{path}: line {number} must be {','.join(TABLE_COLUMNS)} with one line per frame, not "
                f"{quoted(','.join(row))}"
            )
        exposures[row[0]] = slice(start, start + length)
    return exposures


def table_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Number and cells of every line that is not empty; cells are stripped, empty ones at the end are left out."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_TABLE + 1)
        if len(content) > LARGEST_TABLE:
            raise ValueError("far too long")
        text = decoded(content)
        # The first line decides, because a spreadsheet separates columns as its language does.
        head = text.lstrip().partition("\n")[0]
        separator = next((mark for mark in SEPARATORS if mark in head), ",")
        lines = io.StringIO(text, newline=None)
        rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected lines of {','.join(TABLE_COLUMNS)}") from None
    found = []
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        while len(cells) > len(TABLE_COLUMNS) and not cells[-1]:
            cells.pop()
        if any(cells):
            found.append((number, cells))
    return found


def write_exposure_table(folder: Path, exposures: dict[str, slice]) -> None:
    """Write `windows.csv` into the folder of the recordings."""
    with (folder / TABLE_NAME).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TABLE_COLUMNS)
        writer.writerows([stem, exposure.start, exposure.stop - exposure.start] for stem, exposure in exposures.items())

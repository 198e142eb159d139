"""Images of a data set as tiles of a sheet, with text that fits beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageFont


def tile(image: np.ndarray, pixels: int) -> Image.Image:
    """The middle square of an image uint8 [H, W, C] at `pixels` a side, its own pixels visible
    where it is small; of other than colour images the first channel.
    """
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    shown = square[..., :3] if square.shape[2] in (3, 4) else square[..., 0]
    way = Image.Resampling.NEAREST if side < pixels // 2 else Image.Resampling.BICUBIC
    return Image.fromarray(np.ascontiguousarray(shown)).resize((pixels, pixels), way)


def font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's, which has more alphabets than Pillow's."""
    from matplotlib import font_manager

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)


def fitting(words: str, room: int, font: ImageFont.FreeTypeFont) -> str:
    """As much of a text as fits in so many pixels."""
    words = " ".join(words.split())
    if font.getlength(words) <= room:
        return words
    while words and font.getlength(words + "…") > room:
        words = words[:-1]
    return words + "…"


def save(picture: Image.Image, file: Path) -> None:
    """Writes a PNG, whole or not at all."""
    partial = file.with_name(f"{file.name}.partial")
    picture.save(partial, format="png")
    partial.replace(file)

"""Encoded photographs to arrays: the random resized crop of training, the centre crop of
evaluation.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache

import numpy as np

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*")
_NOT_READ = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
"""Formats that Pillow knows but leaves to other programs."""


class Unreadable(ValueError):
    """An image file that is damaged, or no image."""


def crop_box(
    width: int, height: int, generator: np.random.Generator, scale: tuple[float, float] = SCALE
) -> tuple[int, int, int, int]:
    """A random crop: its share of the area uniform in `scale`, its aspect log-uniform in 3/4..4/3;
    the centre if ten draws do not fit.

    Returns:
      left, top, width, height in pixels.

    Source: Szegedy et al., CVPR 2015, arXiv:1409.4842, section 6, as torchvision's
    RandomResizedCrop.
    """
    for _ in range(10):
        area = width * height * generator.uniform(*scale)
        aspect = math.exp(generator.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            top = int(generator.integers(0, height - down + 1))
            return int(generator.integers(0, width - across + 1)), top, across, down
    aspect = width / height
    across = round(height * RATIO[1]) if aspect > RATIO[1] else width
    down = round(width / RATIO[0]) if aspect < RATIO[0] else height
    return (width - across) // 2, (height - down) // 2, across, down


def random_resized_crop(
    data: bytes, generator: np.random.Generator, size: int, scale: tuple[float, float] = SCALE
) -> np.ndarray:
    """Decodes a random crop at `size` pixels: uint8 [size, size, 3].

    A JPEG is decoded at the smallest of libjpeg's scales that keeps the crop at `size` pixels or
    more. Shrinking averages areas (Pillow's antialiased bilinear filter to about one grey level),
    growing is bilinear.

    Raises:
      Unreadable: with the reason.
    """
    import cv2

    width, height = image_size(data)
    left, top, across, down = crop_box(width, height, generator, scale)
    shrink = min(1.0, size / min(across, down))
    image = _decoded(data, math.ceil(width * shrink), math.ceil(height * shrink))
    factor_x, factor_y = image.shape[1] / width, image.shape[0] / height
    x0, y0 = (
        min(int(left * factor_x), image.shape[1] - 1),
        min(int(top * factor_y), image.shape[0] - 1),
    )
    x1, y1 = (
        max(round((left + across) * factor_x), x0 + 1),
        max(round((top + down) * factor_y), y0 + 1),
    )
    cropped = image[y0:y1, x0:x1]
    shrinks = cropped.shape[0] >= size and cropped.shape[1] >= size
    return cv2.resize(
        cropped, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def center_crop(data: bytes, size: int, shorter_side: int) -> np.ndarray:
    """Scales the shorter side to `shorter_side` (bilinear with antialiasing, Pillow's) and cuts out
    the middle: uint8 [size, size, 3].

    The same pixels as torchvision's Resize and CenterCrop on Pillow images, so that evaluations
    compare.

    Raises:
      Unreadable: with the reason.
    """
    return crops(_decoded(data), (size, size), (shorter_side, shorter_side))[0]


def crops(
    image: np.ndarray, size: tuple[int, int], before: tuple[int, int], five: bool = False
) -> np.ndarray:
    """The middle, or the middle and the four corners, of an image scaled (bilinear with
    antialiasing, Pillow's) until it just covers `before`.

    Args:
      image: uint8 [H, W, C], C of 1 or 3.
      size: height and width cut out.
      before: height and width covered, at least `size`.
      five: the corners too.

    Returns:
      uint8 [1 or 5, *size, C].
    """
    from PIL import Image

    height, width = image.shape[:2]
    if width * before[0] <= height * before[1]:
        width, height = before[1], int(before[1] * height / width)
    else:
        width, height = int(before[0] * width / height), before[0]
    scaled = np.asarray(
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).resize(
            (width, height), Image.Resampling.BILINEAR
        )
    ).reshape(height, width, -1)
    down, right = height - size[0], width - size[1]
    places = [(round(down / 2), round(right / 2))]
    if five:
        places += [(0, 0), (0, right), (down, 0), (down, right)]
    return np.stack([scaled[top : top + size[0], left : left + size[1]] for top, left in places])


def decoded(data: bytes) -> np.ndarray:
    """A whole image: uint8 [H, W, 3].

    Raises:
      Unreadable: with the reason.
    """
    return _decoded(data)


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height from the header."""
    import simplejpeg

    if data.startswith(_JPEG):
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
            return width, height
        except ValueError:
            pass
    return _opened(data).size


def _decoded(data: bytes, width: int = 0, height: int = 0) -> np.ndarray:
    """uint8 [H, W, 3], of a JPEG scaled down by a power of two as long as it has this width and
    height.
    """
    import simplejpeg

    if data.startswith(_JPEG):
        try:
            return simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)
        except ValueError:
            # Odd colours or a warning of libjpeg: Pillow, which the published programs use,
            # decides.
            pass
    try:
        return _rgb(_opened(data))
    except Unreadable:
        raise
    except Exception as error:  # Pillow raises many types
        raise Unreadable(_reason(error)) from None


def _rgb(image) -> np.ndarray:
    """uint8 [H, W, 3]. Grey of 16 bits keeps its full range: v becomes round(v / 257), 65535 is
    255.
    """
    if image.mode == "F":
        raise Unreadable("floating-point pixels, whose range is not stated; save 8 or 16 bits")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return np.asarray(image.convert("RGB"))
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise Unreadable(
            f"grey values of {values.min()} to {values.max()}; expected at most 16 bits, 0..65535"
        )
    return np.repeat(((values + 128) // 257).astype(np.uint8)[..., None], 3, axis=-1)


def _opened(data: bytes):
    from PIL import Image

    try:
        return Image.open(io.BytesIO(data), formats=formats())
    except Exception as error:
        if data[:4] in _TIFF:
            raise Unreadable(
                "a TIFF that is damaged, or of other channels or numbers than are read;"
                " expected 1, 3 or 4 channels of 8 or 16 bits (more channels: as arrays in an .npz)"
            ) from None
        raise Unreadable("an empty file" if not data else _reason(error)) from None


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """Names of the formats that are read: Pillow's own."""
    from PIL import Image

    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_READ)


@lru_cache(maxsize=1)
def suffixes() -> frozenset[str]:
    """Of image files in a folder, in lower case."""
    from PIL import Image

    read = formats()
    return frozenset(
        suffix for suffix, name in Image.registered_extensions().items() if name in read
    )


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "not an image" if "cannot identify image file" in text else text.splitlines()[0]

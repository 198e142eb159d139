"""Small photographs for the tests: crops of scikit-learn's two, written as JPEG files in lists and
folders.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

COUNTS = (24, 12, 6, 4)
TEST = 3


def write_list_set(root: Path, counts=COUNTS, size=(80, 60)) -> None:
    """Classes are corners of the photographs: images/CLASS-NUMBER.jpg, train.txt and test.txt with
    labels out of order of count.
    """
    labels = np.roll(np.arange(len(counts)), 2)  # not by count
    lines = {"train": [], "test": []}
    (root / "images").mkdir(parents=True)
    for label, count in zip(labels, counts, strict=True):
        for number, image in enumerate(crops(label, count + TEST, size)):
            name = f"images/{label}-{number}.jpg"
            image.save(root / name, quality=90)
            lines["train" if number < count else "test"].append(f"{name} {label}")
    for split, rows in lines.items():
        (root / f"{split}.txt").write_text("".join(row + "\n" for row in rows))


def crops(label: int, count: int, size=(80, 60)):
    """Random crops of one corner of one photograph, resized."""
    photo = load_sample_images().images[label % 2]
    height, width = photo.shape[0] // 2, photo.shape[1] // 2
    top, left = (label // 2 % 2) * height, (label // 4 % 2) * width
    generator = np.random.default_rng(label)
    for _ in range(count):
        side = int(generator.integers(60, 120))
        y, x = (
            top + int(generator.integers(0, height - side)),
            left + int(generator.integers(0, width - side)),
        )
        yield Image.fromarray(photo[y : y + side, x : x + side]).resize(size)

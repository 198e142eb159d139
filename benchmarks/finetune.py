"""The fine-tuning recipe on photographs small enough for a CPU.

  python benchmarks/finetune.py --data DIR --out docs/results/finetune

Writes CIFAR-10 as JPEG files of 64 pixels into train/CLASS and test/CLASS (--max_count images in
the fullest class, imbalance factor --factor, --test images a class), runs configs/finetune.py on
them and writes OUT/summary.json, a record. What stands behind `--` goes to launch.py.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402
from ltjax import data, imbalance  # noqa: E402
from ltjax.report.runs import load_run, summarize  # noqa: E402


def write_folders(source: str, folder: Path, counts: np.ndarray, test: int) -> None:
    whole = data.load("cifar10", source)
    for split, wanted in (("train", counts), ("test", np.full(10, test))):
        images, labels = getattr(whole, f"{split}_images"), getattr(whole, f"{split}_labels")
        for label, name in enumerate(whole.class_names):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for index in np.flatnonzero(labels == label)[: wanted[label]]:
                image = Image.fromarray(images[index]).resize((64, 64), Image.Resampling.BICUBIC)
                image.save(folder / split / name / f"{index}.jpg", quality=95)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="", help="CIFAR-10 folder; $LTJAX_DATA_DIR by default")
    parser.add_argument("--max_count", type=int, default=200)
    parser.add_argument("--factor", type=float, default=0.05)
    parser.add_argument("--test", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--out", type=Path, required=True)
    options, extra = parser.parse_known_args()
    photographs, run = options.work / "photographs", options.work / "run"
    counts = imbalance.exponential(10, options.max_count, options.factor)
    write_folders(options.data, photographs, counts, options.test)
    fields = {
        "data.dir": photographs.absolute(),
        "data.image_size": 64,
        "data.shorter_side": 64,
        "training.epochs": options.epochs,
        "checkpoint.best": False,
        "logging.tensorboard": False,
    }
    command = [sys.executable, "launch.py", "--config=configs/finetune.py"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    extra = [flag for flag in extra if flag != "--"]
    subprocess.run([*command, f"--workdir={run.absolute()}", *extra], cwd=ROOT, check=True)
    options.out.mkdir(parents=True, exist_ok=True)
    record = records.figure_of(summarize([load_run(run)])[0], records.slug(options.out.name))
    record["data"]["name"] = "CIFAR-10-LT as JPEG files of 64 pixels"
    record["command"] = records.told(["benchmarks/finetune.py", *sys.argv[1:]])
    records.save(options.out / "summary.json", [record])


if __name__ == "__main__":
    main()

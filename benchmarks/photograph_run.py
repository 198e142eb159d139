"""The ImageNet-LT recipe end to end on photographs small enough for a CPU: CIFAR-10 as JPEG files
of 64 pixels in the published lists.

  python benchmarks/photograph_run.py --data DIR --out docs/results/photographs \
      -- --config.model.name=resnet10 --config.model.width=32

Writes a long-tailed training list (--max_count images in the fullest class, imbalance factor
--factor) and a test list of --test images a class, runs configs/imagenet_lt_ldam_drw_sam.py on them
in two halves (stopped by SIGTERM in the middle of an epoch, then continued) and copies the summary
and the pictures to OUT. What stands behind `--` goes to launch.py.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402
from ltjax import data, imbalance  # noqa: E402
from ltjax.report.runs import load_run, summarize  # noqa: E402


def write_lists(source: str, folder: Path, counts: np.ndarray, test: int) -> None:
    """JPEG files and lists; the lists' labels are in reverse order of count, so that ltjax has to
    renumber them.
    """
    whole = data.load("cifar10", source)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for split, wanted in (("train", counts), ("test", np.full(10, test))):
        images, labels = getattr(whole, f"{split}_images"), getattr(whole, f"{split}_labels")
        lines = []
        for label in range(10):
            for index in np.flatnonzero(labels == label)[: wanted[label]]:
                path = f"images/{split}-{index}.jpg"
                Image.fromarray(images[index]).resize((64, 64), Image.Resampling.BICUBIC).save(
                    folder / path, quality=95
                )
                lines.append(f"{path} {9 - label}\n")
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    arguments, extra = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, extra = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="", help="CIFAR-10 folder; $LTJAX_DATA_DIR by default")
    parser.add_argument("--max_count", type=int, default=1000)
    parser.add_argument("--factor", type=float, default=0.05)
    parser.add_argument("--test", type=int, default=100, help="images a class")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--stop_after", type=float, default=60.0, help="seconds until the first half is stopped"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/photographs"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/photographs"))
    options = parser.parse_args(arguments)
    counts = imbalance.exponential(10, options.max_count, options.factor)
    folder, run = options.work / "data", options.work / "run"
    write_lists(options.data, folder, counts, options.test)
    command = [
        *(
            sys.executable,
            str(ROOT / "launch.py"),
            f"--config={ROOT / 'configs/imagenet_lt_ldam_drw_sam.py'}",
            f"--workdir={run}",
        ),
        *(
            f"--config.data.dir={folder}",
            "--config.data.train_list=train.txt",
            "--config.data.test_list=test.txt",
        ),
        *(
            "--config.data.groups=(3,6)",
            "--config.data.image_size=56",
            "--config.data.shorter_side=64",
        ),
        *("--config.training.batch_size=128", f"--config.training.epochs={options.epochs}", *extra),
    ]
    first = subprocess.Popen(command)
    time.sleep(options.stop_after)
    first.send_signal(signal.SIGTERM)
    stopped = first.wait() == 128 + signal.SIGTERM
    subprocess.run(command, check=True)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("per_class.png", "curves.png"):
        shutil.copy(run / name, options.out / name)
    record = records.figure_of(summarize([load_run(run)])[0], records.slug(options.out.name))
    record["data"]["name"] = "CIFAR-10-LT as JPEG files of 64 pixels"
    record["command"] = records.told(["benchmarks/photograph_run.py", *sys.argv[1:]])
    record["details"]["stopped_and_continued"] = stopped
    records.save(options.out / "summary.json", [record])


if __name__ == "__main__":
    main()

"""A short LDAM+DRW+SAM run on real CIFAR-10-LT (f = 0.01), ltjax and PyTorch on the same images:
the same accuracies?

  python benchmarks/short_run.py --data DIR --seeds 2 --epochs 8 --out docs/results/short_run

The schedule is the recipe's, scaled: learning-rate drops, DRW and warm-up fall at the same share of
the run. rho is smaller than the published 0.8, which needs the long schedule. Needs the `test`
extra (PyTorch). Runs that are already in --work are continued, so the script may be stopped and
started again. Prints a table; writes OUT.json and OUT.png.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402
from ltjax import data, metrics  # noqa: E402
from parity_tests import reference  # noqa: E402

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
PUBLISHED_EPOCHS = 200


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="", help="CIFAR-10 folder; $LTJAX_DATA_DIR by default")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rho", type=float, default=0.1)
    parser.add_argument("--factor", type=float, default=0.01)
    parser.add_argument("--work", type=Path, default=Path("runs/short_run"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/short_run"))
    options = parser.parse_args()
    whole = data.load("cifar10", options.data)
    counts = data.class_counts(whole, "exponential", factor=options.factor)
    dataset = data.long_tailed(whole, counts)
    runs: dict[str, list[dict]] = {"ltjax": [], "PyTorch": []}
    for seed in range(options.seeds):
        runs["ltjax"].append(run_ltjax(options, seed))
        runs["PyTorch"].append(run_torch(options, seed, dataset, counts))
    report(options, runs, counts, list(dataset.class_names))


def run_ltjax(options: argparse.Namespace, seed: int) -> dict:
    workdir = options.work / f"ltjax-seed{seed}"
    command = [
        *(
            sys.executable,
            str(ROOT / "launch.py"),
            f"--config={ROOT / 'configs/ldam_drw_sam.py'}",
            f"--workdir={workdir}",
        ),
        *(
            f"--config.seed={seed}",
            f"--config.training.epochs={options.epochs}",
            f"--config.sam.rho={options.rho}",
        ),
        *(
            f"--config.data.dir={options.data}",
            f"--config.data.factor={options.factor}",
            "--config.evaluation.every=2",
        ),
    ]
    subprocess.run(command, check=True)
    result = json.loads((workdir / "result.json").read_text(encoding="utf-8"))
    rows = [
        json.loads(line)
        for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return {
        "seed": seed,
        "seconds": sum(row["seconds"] for row in rows),
        **_figures(np.asarray(result["confusion"])),
    }


def run_torch(
    options: argparse.Namespace, seed: int, dataset: data.Dataset, counts: np.ndarray
) -> dict:
    """The same program in PyTorch: channels last, all cores, augmentation as tensor operations on
    the batch.
    """
    done = options.work / f"torch-seed{seed}.json"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    torch.manual_seed(seed)
    images = torch.from_numpy(dataset.train_images.transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(dataset.train_labels.astype(np.int64))
    model = reference.ResNet(5, 10, normalized=True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
    sam = reference.SAM(optimizer, options.rho)

    def scaled(epoch: int) -> int:
        return round(epoch * options.epochs / PUBLISHED_EPOCHS)

    seconds = 0.0
    for epoch in range(options.epochs):
        began = time.monotonic()
        warmup = scaled(5)
        factor = 0.0001 if epoch >= scaled(180) else 0.01 if epoch >= scaled(160) else 1.0
        optimizer.param_groups[0]["lr"] = (
            0.1 * (epoch + 1) / warmup if epoch < warmup else 0.1 * factor
        )
        beta = 0.9999 if epoch >= scaled(160) else 0.0
        weights = torch.tensor(reference.effective_number(counts, beta), dtype=torch.float32)
        model.train()
        total = correct = 0.0
        for batch in torch.randperm(len(labels)).split(128):
            x, y = _augmented(images[batch]), labels[batch]
            for phase in (sam.ascend, sam.descend):
                logits = model(x)
                loss = reference.weighted_mean(
                    reference.ldam(logits, y, class_counts=counts), y, weights
                )
                loss.backward()
                if phase == sam.ascend:
                    total += loss.item() * len(y)
                    correct += int((logits.argmax(1) == y).sum())
                phase()
        seconds += time.monotonic() - began
        rate = len(labels) / (time.monotonic() - began)
        print(
            f"PyTorch seed {seed} epoch {epoch + 1}/{options.epochs}"
            f"  loss {total / len(labels):.4f}  acc {100 * correct / len(labels):.2f} %"
            f"  {rate:.0f} images/s",
            flush=True,
        )
    model.eval()
    with torch.no_grad():
        test = torch.from_numpy(dataset.test_images.transpose(0, 3, 1, 2).copy())
        predicted = torch.cat(
            [model(_normalized(part)).argmax(1) for part in test.split(500)]
        ).numpy()
    confusion = np.asarray(metrics.confusion_matrix(dataset.test_labels, predicted, 10))
    result = {"seed": seed, "seconds": seconds, **_figures(confusion)}
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text(json.dumps(result), encoding="utf-8")
    return result


def _augmented(batch: torch.Tensor) -> torch.Tensor:
    offsets = torch.randint(0, 9, (len(batch), 2)).tolist()
    return _normalized(
        reference.flip(reference.crop(batch, offsets, 4), (torch.rand(len(batch)) < 0.5).tolist())
    )


def _normalized(batch: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return ((batch.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def _figures(confusion: np.ndarray) -> dict:
    groups = metrics.group_accuracy(confusion, metrics.groups_by_index(10, (3, 6)))
    return {
        "accuracy": metrics.accuracy(confusion),
        **groups,
        "per_class": metrics.per_class_accuracy(confusion).tolist(),
    }


def report(
    options: argparse.Namespace, runs: dict[str, list[dict]], counts: np.ndarray, names: list[str]
) -> None:
    rows = ["accuracy", "many", "medium", "few"]
    print(
        f"\nLDAM+DRW+SAM (rho {options.rho}), CIFAR-10-LT f = {options.factor},"
        f" {options.epochs} epochs, last epoch, %"
    )
    print(
        f"{'':10s}"
        + "".join(
            f"{side + ' ' + str(run['seed']):>12s}" for side, each in runs.items() for run in each
        )
    )
    for name in rows:
        print(
            f"{name:10s}"
            + "".join(f"{100 * run[name]:12.2f}" for each in runs.values() for run in each)
        )
    for c, name in enumerate(names):
        print(
            f"{name:10s}"
            + "".join(
                f"{100 * run['per_class'][c]:12.1f}" for each in runs.values() for run in each
            )
        )
    seconds = {
        side: float(np.mean([run["seconds"] for run in each])) for side, each in runs.items()
    }
    print(
        "training seconds a seed: "
        + ", ".join(f"{side} {value:.0f}" for side, value in seconds.items())
    )
    means = {side: float(np.mean([run["accuracy"] for run in each])) for side, each in runs.items()}
    spread = {side: float(np.ptp([run["accuracy"] for run in each])) for side, each in runs.items()}
    print(
        f"means differ by {100 * abs(means['ltjax'] - means['PyTorch']):.2f} points;"
        " spread between seeds: "
        + ", ".join(f"{side} {100 * value:.2f}" for side, value in spread.items())
    )
    figures = [record(options, side, each, counts, names) for side, each in runs.items()]
    records.save(options.out.with_suffix(".json"), figures)
    draw(options.out.with_suffix(".png"), runs, names, counts)


def record(
    options: argparse.Namespace, side: str, runs: list[dict], counts: np.ndarray, names: list[str]
) -> dict:
    """Of one side's runs, by docs/results/schema.json."""

    def figure(name: str) -> dict[str, float | None]:
        values = [100 * run[name] for run in runs]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return {"mean": float(np.mean(values)), "std": spread}

    now = records.circumstances()
    versions = {"ltjax": {"jax": version("jax")}, "PyTorch": {"torch": torch.__version__}}
    return {
        "id": records.slug(options.out.name, side),
        "status": "short run",
        "method": f"LDAM + DRW + SAM in {side}",
        "recipe": "ldam_drw_sam",
        "data": {
            "name": "CIFAR-10-LT",
            "imbalance": round(1 / options.factor, 2),
            "subset": "NumPy seed 0, class by class",
            "class_counts": counts.tolist(),
            "test_images": 10_000,
        },
        "network": {"name": "resnet32", "parameters": 464_144},
        "epochs": options.epochs,
        "batch_size": 128,
        "augmentation": "crop 4, flip",
        "selection": "last epoch",
        "runs": len(runs),
        "seeds": [run["seed"] for run in runs],
        "accuracy": figure("accuracy"),
        "groups": {name: figure(name) for name in ("many", "medium", "few")},
        **{key: now[key] for key in ("device", "revision", "time")},
        "hours": [round(run["seconds"] / 3600, 2) for run in runs],
        "versions": versions[side],
        "command": records.told(["benchmarks/short_run.py", *sys.argv[1:]]),
        "footnote": f"rho {options.rho}",
        "details": {"class_names": names, "runs": runs},
    }


def draw(path: Path, runs: dict[str, list[dict]], names: list[str], counts: np.ndarray) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    for k, (side, each) in enumerate(runs.items()):
        values = 100 * np.asarray([run["per_class"] for run in each])
        at = np.arange(len(names)) + 0.4 * k - 0.2
        axes.bar(
            at,
            values.mean(0),
            0.38,
            label=side,
            yerr=[values.mean(0) - values.min(0), values.max(0) - values.mean(0)],
            capsize=2,
        )
    axes.set_xticks(
        range(len(names)),
        [f"{name}\n{count}" for name, count in zip(names, counts, strict=True)],
        fontsize=8,
    )
    axes.set_ylabel("test accuracy, %")
    axes.set_title(
        "The same short LDAM+DRW+SAM run in ltjax and PyTorch: mean over seeds,"
        " whiskers the extremes",
        fontsize=10,
    )
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()

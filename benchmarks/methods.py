"""The methods beside each other: what a step of each costs, and where each pulls in one short run.

  python benchmarks/methods.py cost --out docs/results/methods_cost_cpu.json    10 minutes
  python benchmarks/methods.py table --out docs/results/methods.json       an hour, a core

cost: a training step of each recipe (its views, its passes, its heads; batch 128, the same
network, random pixels with the counts of CIFAR-10-LT) against cross-entropy's. All are compiled in
one process and their stretches take turns; a figure is the median over --repeats.

table: each recipe on the embedded digits (417 images, 124 to 6 a class) with ResNet-8, batches of
32, its schedule and its stages scaled to --epochs, several seeds, the last epoch; everything else
its own, but for the rate of recipes with batches above 128, which is scaled to 128. With
--name=cifar10 on real CIFAR-10-LT, --images of the largest class to a hundredth of the smallest. It
shows that a method learns and which groups it favours, and no more: on so few and small images
rates are not tuned and strong views may hurt. Runs in --work are continued or only read.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402
from ltjax import report  # noqa: E402

RECIPES = (
    *("ce", "ce_drw", "ldam_drw", "ldam_drw_sam", "balanced_softmax", "logit_adjusted"),
    *("focal_sam", "imbsam", "cmo", "cmo_balanced_softmax", "balpoe", "sade", "bcl", "proco"),
    *("glmc", "mislas", "ib"),
)
EXPECTED = {
    **{"ldam_drw_sam": 2.0, "focal_sam": 2.7, "imbsam": 2.7, "cmo": 1.0, "bcl": 3.0, "proco": 3.0},
    **{"glmc": 2.0, "mislas": 1.0, "ib": 1.0},
}
"""Of METHODS: passes through the network, against one forward and one backward pass."""


def network(recipe: str, depth: str) -> str:
    return f"experts_{depth}" if recipe in ("balpoe", "sade") else depth


def step_of(recipe: str, depth: str, batch: int) -> Callable[[], Any]:
    """What trains one step of the recipe's most expensive stage."""
    import jax

    from benchmarks.train import pixels
    from ltjax import data
    from ltjax.experiment import experiment, settings
    from ltjax.training import programs

    images, labels = pixels()
    noise = data.Dataset(
        "cifar10", images, labels, images[:100], labels[:100], tuple("0123456789"), "noise"
    )
    data.DATASETS["cifar10"] = lambda folder, *, download: noise
    config = import_module(f"configs.{recipe}").get_config()
    config.data.profile, config.evaluation.batch_size = "full", 100
    config.model.name = network(recipe, depth)
    config.training.update(batch_size=batch, drop_last=True, steps_per_call=1)
    built = experiment.build(settings.resolve(config))
    running = programs.create(built)
    stage = {"cmo": 1, "cmo_balanced_softmax": 1, "ib": 1}.get(recipe, 0)
    epoch = built.stages[stage].first
    state = built.create_state()
    state = built.enter(state, 0, stage) if stage else state
    position, chosen = 0, built.settings(epoch)

    def step():
        nonlocal state, position
        if position >= built.steps_per_epoch:
            state, position = running.next_epoch(state), 0
        state, position = running.advance(state, position, chosen, stage)
        jax.block_until_ready(state)

    return step


def cost(options: argparse.Namespace) -> dict[str, Any]:
    import jax

    steps = {}
    for recipe in options.recipes:
        began = time.perf_counter()
        steps[recipe] = step_of(recipe, options.network, options.batch)
        for _ in range(2):
            steps[recipe]()
        print(f"{recipe}: ready after {time.perf_counter() - began:.1f} s", flush=True)
    seconds: dict[str, list[float]] = {recipe: [] for recipe in steps}
    for _ in range(options.repeats):
        for recipe, step in steps.items():
            began = time.perf_counter()
            for _ in range(options.steps):
                step()
            seconds[recipe].append((time.perf_counter() - began) / options.steps)
    rows = {}
    for recipe, each in seconds.items():
        ratios = [one / plain for one, plain in zip(each, seconds["ce"], strict=True)]
        rows[recipe] = {
            "milliseconds": 1000 * statistics.median(each),
            "ratio": statistics.median(ratios),
            "spread": [min(ratios), max(ratios)],
            "expected": EXPECTED.get(recipe),
        }
        told = f"{rows[recipe]['milliseconds']:8.0f} ms  {rows[recipe]['ratio']:.2f} times ce"
        print(f"{recipe:22s}{told}", flush=True)
    return {
        "what": "A training step of each method against cross-entropy's, batch "
        f"{options.batch}, {options.network}",
        "device": f"{jax.devices()[0].device_kind}, {records.cpu_name()},"
        f" {len(os.sched_getaffinity(0))} cores",
        "rows": rows,
    }


def table(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A short run's record for each recipe."""
    rows = [trained(recipe, options) for recipe in options.recipes]
    print("\n| method | accuracy | many / medium / few |\n| --- | --- | --- |")
    for row in rows:
        mean, deviation = row["accuracy"]["mean"], row["accuracy"]["std"] or 0.0
        groups = " / ".join(f"{row['groups'][name]['mean']:.1f}" for name in GROUPS)
        print(f"| {row['recipe']} | {mean:.1f} ± {deviation:.1f} | {groups} |")
    return rows


GROUPS = ("many", "medium", "few")


def trained(recipe: str, options: argparse.Namespace) -> dict[str, Any]:
    """The record of all seeds, with the accuracy of each expert of networks that have some."""
    workdir = options.work / recipe
    flags = [
        f"--config.model.name={network(recipe, options.network)}",
        f"--config.training.epochs={options.epochs}",
        f"--config.evaluation.every={options.epochs}",
        f"--config.seeds={tuple(range(options.seeds))}",
        "--config.logging.tensorboard=False",
        f"--config.data.name={options.name}",
    ]
    if options.name == "digits":
        own = import_module(f"configs.{recipe}").get_config()
        rate = own.learning_rate.base * min(1, 128 / own.training.batch_size)
        flags += [
            "--config.data.factor=0.05",
            "--config.training.batch_size=32",
            f"--config.learning_rate.base={rate}",
        ]
    else:
        flags += [f"--config.data.max_count={options.images}", f"--config.data.dir={options.data}"]
    if recipe in ("cmo", "cmo_balanced_softmax"):  # an epoch before it and one after
        lengths = {"plain": 1, "mixed": options.epochs - 2, "end": 1}
        flags += [f"--config.stage.{name}.epochs={count}" for name, count in lengths.items()]
    config = ROOT / "configs" / f"{recipe}.py"
    command = [sys.executable, str(ROOT / "launch.py"), f"--config={config}"]
    subprocess.run([*command, f"--workdir={workdir}", *flags], check=True)
    folders = sorted(workdir.glob("seed*"))
    with tempfile.TemporaryDirectory() as work:
        (summary,) = report.write(folders, Path(work))
    record = records.figure_of(summary, records.slug("methods", recipe), "short run")
    each = [run.last["experts"] for run in summary.runs if "experts" in run.last]
    if each:
        record["details"]["experts"] = [
            round(100 * statistics.mean(one["test_accuracy"] for one in of_seeds), 3)
            for of_seeds in zip(*each, strict=True)
        ]
    return record


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("cost", "table"))
    parser.add_argument("--recipes", default=",".join(RECIPES), type=lambda text: text.split(","))
    parser.add_argument("--network", help="cost: resnet32; table: resnet8")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3, help="of a stretch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", default=os.environ.get("LTJAX_DATA_DIR", ""))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--images", type=int, default=1500, help="of the largest class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--name", choices=("digits", "cifar10"), default="digits")
    parser.add_argument("--work", type=Path, default=Path("runs/methods"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    known = {file.stem for file in (ROOT / "configs").glob("*.py")}
    if unknown := sorted(set(options.recipes) - known):
        parser.error(f"--recipes names {unknown[0]!r}, which is no file of configs/")
    options.network = options.network or {"cost": "resnet32", "table": "resnet8"}[options.what]
    if options.what == "cost" and "ce" not in options.recipes:
        parser.error("--recipes lacks ce, which the others are compared with")
    record = {"cost": cost, "table": table}[options.what](options)
    if options.out and isinstance(record, list):
        records.save(options.out, record)
    elif options.out:
        records.save(options.out, records.circumstances(record["device"]) | record)


if __name__ == "__main__":
    main()

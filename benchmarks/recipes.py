"""Trains recipes over several seeds, then writes their figures: the table of docs/results/README.md
from one command.

  python benchmarks/recipes.py --recipes ldam_drw_sam,ce_drw_sam --data cifar10,cifar100 --seeds 3 \
      --out docs/results/h200
  python benchmarks/recipes.py --recipes ldam_drw_sam --dtypes float32,bfloat16 --seeds 3 \
      --out docs/results/precision

Every run is `python launch.py --config=configs/RECIPE.py`; those already in --work are continued or
only read, so the script may be stopped and started again. Flags behind `--` go to every run, for
instance `-- --config.training.epochs=20`. Writes OUT/DATA/summary.json (records by
docs/results/schema.json), report.html and pictures for each data set, and prints a Markdown table.
On one GPU, in order of worth: ldam_drw_sam, ce_drw_sam, then ldam_drw, ce_drw, ce, and the rest.
--together trains the seeds of a recipe in one run.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402
from ltjax import report  # noqa: E402

SADDLE = "ldam_drw_sam,ce_drw_sam,ldam_drw,ce_drw,ce,ce_sam,vs_drw,vs_drw_sam"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", default=SADDLE, help="names of configs, by commas")
    parser.add_argument("--data", default="cifar10", help="data sets, by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--dtypes", default="float32", help="of the computation, by commas: a row of the table each"
    )
    parser.add_argument(
        "--together", action="store_true", help="all seeds in one run (config.seeds)"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/recipes"))
    parser.add_argument(
        "--minutes",
        type=float,
        default=0,
        help="start no further run after this long; 0 is no limit",
    )
    arguments, flags = split_flags(sys.argv[1:])
    options = parser.parse_args(arguments)
    began = time.monotonic()
    for name in options.data.split(","):
        workdirs = []
        # All recipes once before any a second time, so that a run cut short still compares them.
        for seeds in (
            [range(options.seeds)]
            if options.together
            else [[seed] for seed in range(options.seeds)]
        ):
            for recipe, dtype in itertools.product(
                options.recipes.split(","), options.dtypes.split(",")
            ):
                if options.minutes and time.monotonic() - began > 60 * options.minutes:
                    continue
                workdir = options.work / "-".join(
                    [recipe, name, *([dtype] if dtype != "float32" else [])]
                )
                train(recipe, name, seeds, workdir, [f"--config.model.dtype={dtype}", *flags])
                workdirs += [workdir / f"seed{seed}" for seed in seeds]
        if workdirs:
            summaries = report.write(workdirs, options.out / name)
            print(markdown([summary.as_json() for summary in summaries]))
            figures = [
                records.figure_of(one, records.slug(options.out.name, one.title))
                for one in summaries
            ]
            records.save(options.out / name / "summary.json", figures)
            print(
                f"{name}: {sum(len(summary.runs) for summary in summaries)} runs in"
                f" {(time.monotonic() - began) / 60:.1f} minutes so far"
            )


def split_flags(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The script's own arguments, and those behind --, which go to every run."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:end], arguments[end + 1 :]


def train(recipe: str, name: str, seeds: Sequence[int], workdir: Path, flags: list[str]) -> None:
    """Each seed's run in WORKDIR/seedK."""
    command = [
        sys.executable,
        str(ROOT / "launch.py"),
        f"--config={ROOT / 'configs' / recipe}.py",
        f"--config.data.name={name}",
    ]
    if len(seeds) > 1:
        chosen = [f"--config.seeds={tuple(seeds)}", f"--workdir={workdir}"]
    else:
        chosen = [f"--config.seed={seeds[0]}", f"--workdir={workdir / f'seed{seeds[0]}'}"]
    subprocess.run([*command, *chosen, *flags], check=True)


def markdown(summaries: list[dict]) -> str:
    """One row a recipe: last epoch (mean ± standard deviation over seeds), groups, best epoch, the
    source's figure.
    """
    lines = [
        "| recipe | seeds | last epoch, % | many / medium / few | best epoch, % | published, % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for summary in summaries:
        last = summary["last_epoch"]
        groups = " / ".join(
            f"{last[group]['mean']:.1f}" for group in ("many", "medium", "few") if group in last
        )
        published = summary["published_best_epoch"]
        lines.append(
            f"| {summary['title']} | {len(summary['seeds'])}"
            f" | {pair(last['test_accuracy'])} | {groups}"
            f" | {pair(summary['best_epoch_accuracy'])} | {published if published else ''} |"
        )
    return "\n".join(lines)


def pair(figure: dict) -> str:
    return f"{figure['mean']:.2f}" + (
        f" ± {figure['std']:.2f}" if figure["std"] is not None else ""
    )


if __name__ == "__main__":
    main()

"""Runs one of the three published systems row by row and writes its table, ours beside the
source's.

  python benchmarks/systems.py a --out docs/results/system_a   the four training modes, ResNet-18
  python benchmarks/systems.py b --out docs/results/system_b   ResLT over alpha
  python benchmarks/systems.py c --out docs/results/system_c \
      -- --config.init_from=efficientnet_b0.pth

Each row is a run of launch.py (or several, over --seeds); those already in --work are continued or
only read, so the script may be stopped and started again. Flags behind `--` go to every run: `--
--config.training.batch_size=64`. --epochs shortens the schedules, --rows takes only rows whose name
contains one of these. In system c the five decoupled methods share the first stage: it is trained
once, and each classifier starts from it. Writes OUT/summary.json (records), OUT/report.html and
pictures, and prints the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import records
from benchmarks.recipes import pair, split_flags, train
from ltjax import report


@dataclasses.dataclass(frozen=True)
class Row:
    """A name, a recipe, what it changes, the source's figures in the table's columns, and the share
    of the epochs it trains.
    """

    name: str
    recipe: str
    flags: tuple[str, ...] = ()
    published: tuple[float | None, ...] = ()
    share: float = 1.0
    start: str = ""  # name of the row whose run it starts from


def alpha(value: float, policy: str, smoothing: float) -> tuple[str, ...]:
    return (
        f"--config.loss.reslt.beta={value}",
        f"--config.augment.policy={policy}",
        f"--config.loss.reslt.label_smoothing={smoothing}",
    )


SYSTEMS = {
    "a": {
        "columns": {"test_accuracy": "overall", "many": "majority class", "few": "other classes"},
        "epochs": 200,
        "rows": [
            Row("expert", "expert"),
            Row("rotnet", "rotnet"),
            Row("hybrid", "hybrid"),
            Row("pro", "pro"),
        ],
    },
    "b": {
        "columns": {"test_accuracy": "overall", "many": "many", "medium": "medium", "few": "few"},
        "epochs": 200,
        "rows": [
            Row("alpha 0.995", "reslt_b", alpha(0.995, "none", 0.0), (53.9, 27.8, 46.9, 78.7)),
            Row("alpha 0.9", "reslt_b", alpha(0.9, "none", 0.0), (72.0, 83.4, 66.3, 68.0)),
            Row("alpha 0.99", "reslt_b", alpha(0.99, "none", 0.0), (61.8, 43.9, 52.5, 82.1)),
            Row("alpha 0.95", "reslt_b", alpha(0.95, "none", 0.0), (70.8, 74.7, 64.7, 72.5)),
            Row(
                "alpha 0.95 AutoAugment",
                "reslt_b",
                alpha(0.95, "cifar10", 0.0),
                (70.2, 67.9, 62.3, 77.9),
            ),
            Row("alpha 0.95 AutoAugment smoothing", "reslt_b", (), (75.3, 74.4, 65.9, 83.1)),
            Row("the same, f = 0.02", "reslt_b_f002", (), (80.1, 80.5, 70.1, 87.4)),
            Row("the same, f = 0.1", "reslt_b_f010", (), (86.8, 84.6, 79.2, 94.1)),
            Row("authors' program, f = 0.01", "reslt", (), (80.44,)),
            Row("authors' program, f = 0.02", "reslt_f002", (), (83.46,)),
            Row("authors' program, f = 0.1", "reslt_f010", (), (89.06,)),
        ],
    },
    "c": {
        "columns": {
            **{
                "test_accuracy": "accuracy",
                "weighted_precision": "precision",
                "balanced_accuracy": "recall",
                "weighted_f1": "F1",
            },
            **{"many": "many", "medium": "medium", "few": "few"},
        },
        "epochs": 30,
        "rows": [
            Row("baseline", "efficientnet", (), (84.2,)),
            Row("reweight", "efficientnet_reweight", (), (85.82, None, None, 85.84)),
            Row("features", "decoupled", ("--config.stages=('features',)",), share=2 / 3),
            *(
                Row(
                    f"decoupled, {name}",
                    recipe,
                    ("--config.stages=('classifier',)", "--config.init_except="),
                    published,
                    1 / 3,
                    "features",
                )
                for name, recipe, published in (
                    ("modified cross-entropy", "decoupled", (93.78, None, None, 93.77)),
                    ("balanced softmax", "decoupled_balanced_softmax", ()),
                    ("focal", "decoupled_focal", ()),
                    ("class-balanced", "decoupled_class_balanced", ()),
                    ("class-balanced focal", "decoupled_class_balanced_focal", ()),
                )
            ),
        ],
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--epochs", type=int, default=0, help="of a whole run; 0 is the published number"
    )
    parser.add_argument(
        "--rows", default="", help="only rows whose name contains one of these, by commas"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/systems"))
    parser.add_argument("--out", type=Path, required=True)
    arguments, given = split_flags(sys.argv[1:])
    options = parser.parse_args(arguments)
    system = SYSTEMS[options.system]
    wanted = options.rows.split(",")
    rows = [row for row in system["rows"] if any(part in row.name for part in wanted)]
    epochs = options.epochs or system["epochs"]
    workdirs: dict[str, list[Path]] = {row.name: [] for row in rows}
    for seed in range(options.seeds):  # all rows once before any a second time
        for row in rows:
            workdir = options.work / f"{options.system}-{folder(row.name)}"
            flags = [
                *given,
                *row.flags,
                f"--config.training.epochs={max(1, round(epochs * row.share))}",
            ]
            if row.start:
                flags.append(
                    "--config.init_from="
                    f"{options.work / f'{options.system}-{folder(row.start)}' / f'seed{seed}'}"
                )
            train(row.recipe, options.data, [seed], workdir, flags)
            workdirs[row.name].append(workdir / f"seed{seed}")
            write(rows, workdirs, system["columns"], options.out)


def folder(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "." else "_" for letter in name)


def write(
    rows: list[Row], workdirs: dict[str, list[Path]], columns: dict[str, str], out: Path
) -> None:
    """After every run, so that a script cut short has its table."""
    done = [row for row in rows if workdirs[row.name]]
    titles = {path: row.name for row in done for path in workdirs[row.name]}
    summaries = report.write(list(titles), out, titles=[titles[path] for path in titles])
    found = {summary.title: summary for summary in summaries}
    figures = [records.figure_of(one, records.slug(out.name, one.title)) for one in summaries]
    records.save(out / "summary.json", figures)
    lines = [
        f"| | {' | '.join(columns.values())} | source: {' / '.join(columns.values())} |",
        f"|{' --- |' * (len(columns) + 2)}",
    ]
    for row in done:
        last = found[row.name].as_json()["last_epoch"]
        ours = " | ".join(pair(last[name]) if name in last else "" for name in columns)
        published = " / ".join("-" if value is None else str(value) for value in row.published)
        lines.append(f"| {row.name} | {ours} | {published} |")
    print(
        "\n".join(lines),
        f"{sum(len(summary.runs) for summary in summaries)} runs so far",
        sep="\n",
        flush=True,
    )


if __name__ == "__main__":
    main()

"""Writes the classifiers after training of a run (`--mode=posthoc`) as records of docs/results.

python benchmarks/posthoc.py RUN --id posthoc_digits --out docs/results/posthoc/digits.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402
from ltjax import report  # noqa: E402

SHARED = (
    *("data", "network", "epochs", "batch_size", "augmentation", "runs", "seeds", "versions"),
    "recipe",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="work directory with posthoc.json")
    parser.add_argument("--id", required=True, help="what the records' names begin with")
    parser.add_argument("--footnote", help="what a reader must know of the run")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    file = options.run / "posthoc.json"
    if not file.is_file():
        sys.exit(f"{file} is missing; --mode=posthoc writes it")
    found = json.loads(file.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as work:
        (summary,) = report.write([options.run], Path(work))
    run = records.figure_of(summary, options.id)
    shared = {name: run[name] for name in SHARED}
    shared["epochs"] = 1 + summary.runs[0].rows[-1]["epoch"]
    shared["data"]["test_images"] = found["test_images"]
    now = records.circumstances(found["device"])
    shared |= {name: now[name] for name in ("device", "revision", "time")}
    rows = [
        {
            "id": f"{options.id}-{row['method']}",
            "status": "classifier after training",
            "method": row["title"],
            "paper": row["source"] or None,
            "selection": "held-out training images",
            **{name: share(row["chosen"], name) for name in ("accuracy", "balanced_accuracy")},
            "best_epoch": None,
            "groups": {name: share(row["chosen"], name) for name in ("many", "medium", "few")},
            **shared,
            "command": f"python launch.py --config=configs/{run['recipe']}.py --mode=posthoc",
            **({"footnote": options.footnote} if options.footnote else {}),
            "details": {
                name: row[name]
                for name in ("method", "candidates", "ties", "default", "chosen", "oracle")
            },
        }
        for row in found["rows"]
    ]
    rows[0]["details"]["shared"] = {name: one for name, one in found.items() if name != "rows"}
    records.save(options.out, rows)


def share(figures: dict[str, Any], name: str) -> dict[str, Any]:
    return {"mean": round(100 * figures[name], 3), "std": None}


if __name__ == "__main__":
    main()

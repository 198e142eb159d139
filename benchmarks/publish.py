"""A finished run's record and weights, as docs/results/full/ keeps them.

  python benchmarks/publish.py RUN [RUN ...] --out docs/results/full/ldam_drw_sam-cifar10

RUNs are work directories of one recipe that differ in the seed. Writes OUT/summary.json (a record
by docs/results/schema.json: the leaderboard's row), OUT/per_class.png and, for each seed,
metrics-seedK.jsonl and weights-seedK.safetensors under PyTorch's names. Then evaluates each file of
weights as a user would, and fails where the figure is not the last epoch's.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402
from ltjax import models, report  # noqa: E402
from ltjax.experiment.initial import run_variables  # noqa: E402
from ltjax.report.runs import Run, load_run  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    runs = [load_run(path) for path in options.runs]
    unfinished = [str(run.path) for run in runs if not run.finished]
    if unfinished:
        sys.exit(f"not trained to the end: {', '.join(unfinished)}")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        summaries = report.write(options.runs, Path(work))
        if len(summaries) > 1:
            sys.exit(f"runs of {len(summaries)} recipes; give those of one")
        shutil.copy(Path(work) / "per_class.png", options.out)
    record = records.figure_of(summaries[0], records.slug(options.out.resolve().name))
    record["weights"] = []
    for run in runs:
        weights = options.out / f"weights-seed{run.seed}.safetensors"
        shutil.copy(run.path / "metrics.jsonl", options.out / f"metrics-seed{run.seed}.jsonl")
        state = models.to_torch(run.config["model.name"], run_variables(run.path))
        save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, weights)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        record["weights"].append({"file": weights.name, "sha256": digest})
        check(run, weights)
    records.save(options.out / "summary.json", [record])


def check(run: Run, weights: Path) -> None:
    """Fails unless the weights give the run's last figure, by the run's own command."""
    flags = [
        flag
        for flag in run.record["starts"][-1]["command"][1:]
        if not re.match(r"--(workdir|mode|config\.(fork|init_from))\b", flag)
    ]
    command = [
        *(sys.executable, str(ROOT / "launch.py"), *flags, "--mode=evaluate"),
        f"--config.init_from={weights}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    expected = f"{100 * run.last['test_accuracy']:.2f}"
    if done.returncode or expected not in done.stdout:
        sys.exit(
            f"{weights} does not give {expected} %:\n{done.stdout[-2000:]}{done.stderr[-500:]}"
        )
    print(f"{weights}: {expected} %", flush=True)


if __name__ == "__main__":
    main()

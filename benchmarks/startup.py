"""Time of a whole command that trains two steps and evaluates once: cold, and with the programs that an earlier start compiled.

  python benchmarks/startup.py --out docs/results/startup.json

The command is `python launch.py --config=configs/ldam_drw_sam.py` on 130 images, so nearly all of its time is start-up: imports, reading
CIFAR-10, compilation of the training step, of its short last batch and of the evaluation, checkpoint and report. Needs CIFAR-10 (--data).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def start(work: Path, number: int, data: str, **variables: str) -> float:
    command = [
        *(sys.executable, str(ROOT / "launch.py"), f"--config={ROOT / 'configs/ldam_drw_sam.py'}", f"--workdir={work / str(number)}"),
        *("--config.training.epochs=1", "--config.data.profile=counts", f"--config.data.counts={(13,) * 10}", f"--config.data.dir={data}"),
        "--config.logging.tensorboard=False",
    ]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=os.environ | variables | {"XDG_CACHE_HOME": str(work / "cache")})
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("LTJAX_DATA_DIR", ""), help="CIFAR-10 folder; $LTJAX_DATA_DIR by default")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: dict[str, list[float]] = {"first start": [], "later start": []}
    for repeat in range(options.repeats):
        with tempfile.TemporaryDirectory() as place:
            rows["first start"].append(start(Path(place), 0, options.data))
            rows["later start"].append(start(Path(place), 1, options.data))
        print(f"repeat {repeat + 1}: first {rows['first start'][-1]:.1f} s, later {rows['later start'][-1]:.1f} s", flush=True)
    ratio = min(rows["first start"]) / min(rows["later start"])
    print(f"a later start takes {1 / ratio:.2f} of the first one's time")
    if options.out:
        revision = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        record = {"what": __doc__.splitlines()[0], "seconds": rows, "ratio": ratio, "host": platform.machine(), "cores": os.cpu_count()}
        record |= {"revision": revision, "time": time.strftime("%Y-%m-%d")}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

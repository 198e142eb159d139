"""Start-up of the main recipe: seconds to the first finished step, and of a whole short command.

  python benchmarks/startup.py --out docs/results/startup.json        about 3 minutes on 2 cores

The command is `python launch.py --config=configs/ldam_drw_sam.py` on 130 images of CIFAR-10
(--data), so nearly all of its time is start-up: imports, reading the data, compilation; the whole
one also trains the short last batch, evaluates 10,000 images, saves and reports. The first start
finds an empty folder of compiled programs, the later one what the first compiled.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402

BEGAN = "LTJAX_BENCHMARK_BEGAN"


def command(work: Path, data: str) -> list[str]:
    return [
        *(
            f"--config={ROOT / 'configs/ldam_drw_sam.py'}",
            f"--workdir={tempfile.mkdtemp(dir=work)}",
            "--config.logging.tensorboard=False",
        ),
        *(
            "--config.training.epochs=1",
            "--config.data.profile=counts",
            f"--config.data.counts={(13,) * 10}",
            f"--config.data.dir={data}",
        ),
    ]


def seconds(program: Path, flags: list[str], cache: Path) -> float:
    began = time.time()
    variables = {"XDG_CACHE_HOME": str(cache), BEGAN: str(began)}
    done = subprocess.run(
        [sys.executable, str(program), *flags],
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.split()[-1]) if program == Path(__file__) else time.time() - began


def until_the_first_step() -> None:
    """Runs the command's own code until its first step is done, and prints how long that took."""
    from ltjax import command

    def advance(self, *arguments):
        import jax

        jax.block_until_ready(original(self, *arguments))
        print(time.time() - float(os.environ[BEGAN]), flush=True)
        os._exit(0)

    from ltjax.training.programs import Programs

    original, Programs.advance = Programs.advance, advance
    command.run()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        default=os.environ.get("LTJAX_DATA_DIR", ""),
        help="CIFAR-10 folder; $LTJAX_DATA_DIR by default",
    )
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: dict[str, dict[str, list[float]]] = {}
    for what, program in (
        ("to the first step", Path(__file__)),
        ("whole command", ROOT / "launch.py"),
    ):
        row = rows[what] = {"first": [], "later": []}
        for _ in range(options.repeats):
            with tempfile.TemporaryDirectory() as place:
                for start in row.values():
                    start.append(
                        seconds(program, command(Path(place), options.data), Path(place) / "cache")
                    )
        first, later = (min(row[start]) for start in row)
        print(
            f"{what:18}: first start {first:5.1f} s, later {later:5.1f} s,"
            f" {later / first:.2f} of it",
            flush=True,
        )
    if options.out:
        import jax

        record = {
            "what": __doc__.splitlines()[0],
            "seconds": rows,
            **records.circumstances(jax.devices()[0].device_kind),
            "jax": jax.__version__,
        }
        records.save(options.out, record)


if __name__ == "__main__":
    until_the_first_step() if BEGAN in os.environ else main()

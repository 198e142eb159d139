"""Where the time of a training step goes: the device's operations over some steps of the main
recipe, by kind, and what it waits.

  python benchmarks/train_profile.py --out docs/results/train_profile_cpu.json        two minutes

Traces the step of benchmarks/train.py (`--dtype`, `--no-sam`, `--seeds`) with jax.profiler and adds
up what ran on the busiest device line. XLA names a fused operation by the operations in it; on a
CPU, convolutions that it leaves to Eigen's threads have no name of their own and stand as "not
named". --trace keeps the trace for TensorBoard or Perfetto.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import records
from benchmarks.train import BATCH, ltjax_steps

NOT_WORK = (
    "ThreadpoolListener",
    "ThunkExecutor",
    "Wait",
    "Rendezvous",
    "InvokeRendezvous",
    "end: ",
    "call",
    "while",
    "[",
    "Handle ",
)


def operations(trace: Path) -> tuple[Counter[str], float]:
    """Nanoseconds a kind of operation on the device's busiest line,
    and from its first to its last.
    """
    import jax

    [file] = trace.rglob("*.xplane.pb")
    planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    device = [plane for plane in planes if plane.name.startswith("/device:GPU")] or [
        plane for plane in planes if plane.name == "/host:CPU"
    ]
    found: list[tuple[Counter[str], float]] = []
    for line in device[0].lines:
        if not line.name.startswith(("Stream", "XLA Ops", "tf_XLAEigen")):
            continue
        spent, first, last = Counter[str](), float("inf"), 0.0
        for event in line.events:
            if event.name.startswith(NOT_WORK):
                continue
            spent[re.sub(r"[.\d]+$", "", event.name)] += event.duration_ns
            first, last = min(first, event.start_ns), max(last, event.end_ns)
        found.append((spent, last - first))
    return max(found, key=lambda pair: sum(pair[0].values()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--no-sam", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--steps", type=int, default=0, help="traced; 0 is 4 on a CPU, an epoch (97) on a GPU"
    )
    parser.add_argument("--trace", type=Path, help="folder to keep the trace in")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    run, built = ltjax_steps(sam=not options.no_sam, dtype=options.dtype, seeds=options.seeds)
    import jax

    device = built.devices[0]
    steps = options.steps or (4 if device.platform == "cpu" else 97)
    run(steps)
    with tempfile.TemporaryDirectory() as place:
        trace = options.trace or Path(place)
        with jax.profiler.trace(str(trace)):
            steps = run(steps)
        spent, whole = operations(trace)
    per_step = {name: nanoseconds / 1e6 / steps for name, nanoseconds in spent.most_common()}
    whole /= 1e6 * steps
    per_step["not named, or waiting"] = whole - sum(per_step.values())
    print(
        f"{whole:.3f} ms a step of {options.seeds * BATCH} images"
        f" on one of {len(built.devices)} x {device.device_kind}"
    )
    for name, milliseconds in sorted(per_step.items(), key=lambda item: -item[1])[:20]:
        print(f"{milliseconds:10.3f} ms {100 * milliseconds / whole:5.1f} %  {name[:100]}")
    if options.out:
        record = {
            "what": __doc__.splitlines()[0],
            "milliseconds_a_step": whole,
            "operations": per_step,
            "steps": steps,
        }
        record |= {
            "dtype": options.dtype,
            "sam": not options.no_sam,
            "seeds": options.seeds,
            "devices": len(built.devices),
        }
        record |= {**records.circumstances(device.device_kind), "jax": jax.__version__}
        records.save(options.out, record)


if __name__ == "__main__":
    main()

"""What augmentation costs: the ResNet-32 SAM step with AutoAugment, RandAugment or cutout against
crop and flip alone, in one run.

  python benchmarks/augment.py --out docs/results/augment.json

The trainer's own compiled step, batch 128, on whatever device is there; the variants take turns, so
that a slow moment meets all of them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks import records  # noqa: E402
from configs import ldam_drw_sam  # noqa: E402
from ltjax import devices  # noqa: E402
from ltjax.data import Dataset  # noqa: E402
from ltjax.experiment import experiment, settings  # noqa: E402
from ltjax.training.programs import Programs  # noqa: E402

VARIANTS = {
    "crop and flip": {},
    "AutoAugment": {"augment.policy": "cifar10"},
    "RandAugment": {"augment.policy": "rand_augment"},
    "cutout": {"augment.cutout": 16},
    "CutMix": {"mixing.name": "cutmix"},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4, help="in one turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--model", default="resnet32")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    experiment.data.load = noise
    devices.use_devices(128)
    runs = {name: prepare(fields, options) for name, fields in VARIANTS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.turns + 1):
        for name, run in runs.items():
            taken = run()
            if turn:  # the first compiles
                seconds[name].append(taken / options.steps)
    base = statistics.median(seconds["crop and flip"])
    rows = {
        name: {"seconds_a_step": statistics.median(values), "each": values}
        for name, values in seconds.items()
    }
    print(
        f"{options.model} SAM step, batch 128,"
        f" {jax.device_count()} x {jax.devices()[0].device_kind}, median of {options.turns} turns"
    )
    for name, row in rows.items():
        row["over_crop_and_flip"] = row["seconds_a_step"] / base - 1
        print(
            f"{name:14} {1000 * row['seconds_a_step']:9.2f} ms"
            f"  {100 * row['over_crop_and_flip']:+6.1f} %"
        )
    if options.out:
        record = {
            "what": f"{options.model} SAM step, batch 128",
            **records.circumstances(f"{jax.device_count()} x {jax.devices()[0].device_kind}"),
            "jax": jax.__version__,
            "variants": rows,
        }
        records.save(options.out, record)


def noise(name, folder, *, download):
    """As many images as CIFAR-10 has a class for; the cost does not depend on what is on them."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(10, dtype=np.int32), 2000)
    images = generator.integers(0, 256, (len(labels), 32, 32, 3), np.uint8)
    return Dataset(name, images, labels, images[:100], labels[:100], tuple("0123456789"), "noise")


def prepare(fields, options):
    config = ldam_drw_sam.get_config()
    config.model.name = options.model
    config.update_from_flattened_dict(fields)
    config.evaluation.batch_size = 100
    config.training.steps_per_call = options.steps if jax.devices()[0].platform != "cpu" else 1
    built = experiment.build(settings.resolve(config))
    programs = Programs(built)
    state, position = built.create_state(), 0
    epoch_settings = built.settings(0)

    def run():
        nonlocal state, position
        began, end = time.perf_counter(), position + options.steps
        while position < end:
            state, position = programs.advance(state, position, epoch_settings)
        jax.block_until_ready(state)
        return time.perf_counter() - began

    return run


if __name__ == "__main__":
    main()

"""Step time and memory of the recipes for photographs, and what 90 epochs of ImageNet-LT and
iNaturalist 2018 cost at that pace.

  python benchmarks/photographs.py --out docs/results/photographs.json
      on a GPU
  python benchmarks/photographs.py --batch_size 8 --steps 2 --size 64 --dtypes float32
      a trial on a CPU

Times the compiled training step of configs/imagenet_lt_ldam_drw_sam.py (both SAM passes, colour
jitter, ResNet-50) on random images that lie on the device already, so without the input pipeline,
whose rate benchmarks/input.py measures.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402
from configs import imagenet_lt_ldam_drw_sam  # noqa: E402
from ltjax import devices  # noqa: E402
from ltjax.experiment import settings  # noqa: E402
from ltjax.experiment.recipe import Settings, make_recipe  # noqa: E402
from ltjax.experiment.stages import stages_of  # noqa: E402
from ltjax.experiment.state import create_state  # noqa: E402
from ltjax.training.step import train_step  # noqa: E402

SETS = {"ImageNet-LT": (115_846, 1_000), "iNaturalist 2018": (437_513, 8_142)}
EPOCHS = 90
GFLOP = 8.2
"""Of one image forward at 224 pixels: ResNet-50's 4.1 thousand million multiply-adds. A training
pass is three of those, SAM two passes.
"""


def measure(options: argparse.Namespace, name: str, dtype: str) -> dict:
    images, classes = SETS[name]
    config = imagenet_lt_ldam_drw_sam.get_config()
    config.training.batch_size, config.model.name, config.model.dtype = (
        options.batch_size,
        options.model,
        dtype,
    )
    config.training.accumulate = options.accumulate
    resolved = settings.resolve(config)
    used = devices.use_devices(options.batch_size)
    counts = np.maximum(np.geomspace(1280, 5, classes).astype(int), 1)
    recipe = make_recipe(
        stages_of(resolved)[0], (options.size, options.size), counts, devices.batch_sharding(used)
    )
    state = create_state(
        recipe.model, recipe.optimizer(jnp.zeros([])), (options.size, options.size, 3), 0
    )
    state = devices.put(state, devices.replicated(used))
    generator = np.random.default_rng(0)
    pixels = generator.integers(
        0, 256, (options.batch_size, options.size, options.size, 3), np.uint8
    )
    labels = generator.integers(0, classes, options.batch_size).astype(np.int32)
    batch = devices.put_batch(
        (pixels, labels), options.batch_size, devices.batch_sharding(used), used
    )
    epoch = Settings(
        learning_rate=jnp.asarray(0.1), rho=jnp.asarray(0.05), class_weights=jnp.ones(classes)
    )
    step = jax.jit(partial(train_step, recipe), donate_argnums=0)
    began = time.perf_counter()
    state = jax.block_until_ready(step(state, *batch, epoch))
    compiling = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(options.steps):
        state = step(state, *batch, epoch)
    jax.block_until_ready(state)
    rate = options.steps * options.batch_size / (time.perf_counter() - began)
    memory = used[0].memory_stats() or {}
    return {
        "set": name,
        "dtype": dtype,
        "images_per_second": rate,
        "step_seconds": options.batch_size / rate,
        "compiling_seconds": compiling,
        "teraflop_per_second": rate * 6 * GFLOP * (options.size / 224) ** 2 / 1000,
        "peak_memory_gib": round(memory.get("peak_bytes_in_use", 0) / 2**30, 2),
        "steps": -(-images // options.batch_size) * EPOCHS,
        "hours_on_this": images * EPOCHS / rate / 3600,
        "hours_on_eight_at_90_percent": images * EPOCHS / rate / 3600 / 8 / 0.9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--size", type=int, default=224, help="pixels; the hours are for this size")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--dtypes", default="bfloat16,float32")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for name in SETS:
        for dtype in options.dtypes.split(","):
            rows.append(measure(options, name, dtype))
            row = rows[-1]
            print(
                f"{name}, {dtype}: {row['images_per_second']:.1f} images/s,"
                f" {1000 * row['step_seconds']:.0f} ms a step, {row['steps']:,} steps,"
                f" {row['hours_on_this']:.1f} hours here,"
                f" {row['hours_on_eight_at_90_percent']:.1f} on eight at 90 % efficiency,"
                f" {row['peak_memory_gib']} GiB",
                flush=True,
            )
    if options.out:
        record = {
            "what": __doc__.splitlines()[0],
            **records.circumstances(f"{len(jax.devices())} x {jax.devices()[0].device_kind}"),
            "jax": jax.__version__,
            "options": {name: str(value) for name, value in vars(options).items()},
            "rows": rows,
        }
        records.save(options.out, record)


if __name__ == "__main__":
    main()

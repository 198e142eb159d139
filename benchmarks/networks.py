"""Training speed of the networks on a CPU: ltjax against PyTorch, in one run.

  python benchmarks/networks.py --out docs/results/networks_cpu.json   about 15 minutes on 2 cores

Forward and backward pass in training mode (cross-entropy, float32, no SAM, no update) on random
images. Each side is tuned: ltjax with the batch on one host device and shared over two, of which
the faster is compared; PyTorch eager, channels_last. A network's variants run in processes of their
own and their stretches take turns, so that a machine that grows slower does so for all; a figure is
the median rate over --repeats stretches of --seconds each, after compilation and a warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402
from benchmarks.turns import READY, take_turns  # noqa: E402


class Case(NamedTuple):
    """A row: network, pixels, batch, and the goal for its ratio."""

    network: str
    pixels: int
    batch: int
    goal: float


CASES = (
    Case("resnet18", 64, 64, 0.4),
    Case("efficientnet_lite0", 96, 64, 0.4),
    Case("efficientnet_b0", 64, 64, 0.4),
    Case("resnet50", 224, 8, 0.35),
    Case("resnet18_cifar", 32, 64, 0.45),
    Case("resnet32", 32, 128, 0.6),
)
CLASSES = 10
VARIANTS = ("ltjax, 1 device", "ltjax, 2 devices", "PyTorch")


def batch_of(case: Case) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    shape = (case.batch, case.pixels, case.pixels, 3)
    return generator.normal(size=shape).astype(np.float32), generator.integers(
        CLASSES, size=case.batch
    )


def ours(case: Case, count: int) -> Callable[[], Any]:
    import jax

    jax.config.update("jax_num_cpu_devices", count)
    import jax.numpy as jnp

    from ltjax import devices, losses, models

    model = models.create(case.network, CLASSES)
    place = devices.batch_sharding(jax.devices()) or jax.devices()[0]
    images, labels = jax.device_put(batch_of(case), place)
    variables = jax.device_put(
        jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *images.shape[1:]))),
        devices.replicated(jax.devices()),
    )

    @partial(jax.jit, compiler_options=devices.compiler_options())
    def gradient(variables, images, labels):
        def loss(params):
            logits, updated = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            return jnp.mean(losses.cross_entropy(logits, labels)), updated

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    return lambda: jax.block_until_ready(gradient(variables, images, labels))


def theirs(case: Case) -> Callable[[], Any]:
    import torch

    from parity_tests import pretrained, reference

    torch.manual_seed(0)
    if case.network == "resnet32":
        model: Any = reference.ResNet(5, CLASSES)
    elif case.network == "resnet18_cifar":
        model = reference.ResNet18(CLASSES)
    elif case.network.startswith("efficientnet"):
        name = f"tf_{case.network}"
        options = {"drop_rate": 0.2, "drop_path_rate": 0.2, "num_classes": CLASSES}
        model = pretrained.import_timm().create_model(name, **options)
    else:
        known = pretrained.import_torchvision().models
        model = getattr(known, case.network)(num_classes=CLASSES)
    model = model.train().to(memory_format=torch.channels_last)
    images, labels = batch_of(case)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    x, y = x.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels)

    def gradient():
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()

    return gradient


def measure(case: Case, variant: str, options: argparse.Namespace) -> dict[str, Any]:
    began = time.perf_counter()
    step = theirs(case) if variant == "PyTorch" else ours(case, int(variant.split()[1]))
    step()
    first = time.perf_counter() - began
    began = time.perf_counter()
    step()
    steps = max(1, round(options.seconds / (time.perf_counter() - began)))
    print(READY, flush=True)
    rates, cpu_rates = [], []
    for _ in range(options.repeats):
        sys.stdin.readline()
        began, used = time.perf_counter(), time.process_time()
        for _ in range(steps):
            step()
        rates.append(steps * case.batch / (time.perf_counter() - began))
        cpu_rates.append(steps * case.batch / (time.process_time() - used))
        print(READY, flush=True)
    return {
        "images_per_second": statistics.median(rates),
        "spread": [min(rates), max(rates)],
        "images_per_core_second": statistics.median(cpu_rates),
        "steps": steps,
        "first_step_seconds": first,
        "peak_host_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default="", help="by commas; all by default")
    parser.add_argument("--variants", default=";".join(VARIANTS), help="by semicolons")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one stretch, about")
    parser.add_argument(
        "--limit", type=int, default=300, help="seconds until a variant is given up"
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    known = {case.network: case for case in CASES}
    if options.case:
        print(json.dumps(measure(known[options.case], options.variants, options)))
        return
    chosen = options.networks.split(",") if options.networks else list(known)
    if unknown := set(chosen) - set(known):
        parser.error(f"--networks names {unknown.pop()!r}; expected some of: {', '.join(known)}")
    variants = options.variants.split(";")
    rows = {}
    for case in map(known.__getitem__, chosen):
        command = [sys.executable, __file__, f"--case={case.network}"]
        command += [f"--repeats={options.repeats}", f"--seconds={options.seconds}"]
        commands = {name: [*command, f"--variants={name}"] for name in variants}
        measured = take_turns(commands, options.repeats, options.limit)
        rate = {name: row["images_per_second"] for name, row in measured.items()}
        best = max(value for name, value in rate.items() if name != "PyTorch")
        rows[case.network] = {**case._asdict(), "measured": measured}
        told = ", ".join(f"{name} {value:.1f}" for name, value in rate.items())
        if "PyTorch" in rate:
            rows[case.network]["ratio"] = best / rate["PyTorch"]
            told += f"; {best / rate['PyTorch']:.2f} (goal {case.goal})"
        print(f"{case.network}, {case.pixels} px, batch {case.batch}: images/s {told}", flush=True)
    if options.out:
        record = {
            "what": __doc__.splitlines()[0],
            "rows": rows,
            "load": os.getloadavg(),
            **records.circumstances(),
        }
        records.save(options.out, record)


if __name__ == "__main__":
    main()

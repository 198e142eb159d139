"""Training speed of LDAM + DRW + SAM with ResNet-32, CIFAR-10-LT: ltjax against PyTorch in one run.

  python benchmarks/train.py --out docs/results/train_cpu.json
      under 10 minutes on a CPU or a GPU
  python benchmarks/train.py --tries --out docs/results/train_tries.json
      what may make ltjax faster on a GPU

Every variant trains the recipe's own step (batch 128, crop, flip, both SAM passes, momentum, weight
decay) on 12,406 images of random pixels with the counts of CIFAR-10-LT; variants run in processes
of their own. A figure is the median rate over --repeats stretches of --steps steps, after
compilation and as many warm-up steps; on a CPU the variants' stretches take turns.

  ltjax             float32; on a GPU whole epochs in one call, also in bfloat16, and 8 seeds
                    together in one program (images of all)
  ltjax, no SAM     the same with one pass a step
  one step a call   on a CPU: these without the loop over several
  XLA's scheduler   on a CPU: these without ltjax's compile options
  PyTorch           eager, contiguous NCHW, augmentation as tensor operations on the batch; on a GPU
                    the images come from a DataLoader with workers, as in the authors' program, and
                    cuDNN's benchmark mode is on
  PyTorch, tuned    on a CPU: channels_last, eager and through torch.compile; on a GPU: images and
                    augmentation on the GPU, channels_last, bfloat16 autocast, torch.compile with
                    CUDA graphs
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ltjax.experiment import experiment

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import records  # noqa: E402
from benchmarks.turns import READY, take_turns  # noqa: E402

BATCH = 128
COUNTS = (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
RECIPE_IMAGES = 200 * sum(COUNTS)


def pixels() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(10, dtype=np.int32), COUNTS)
    return generator.integers(0, 256, (len(labels), 32, 32, 3), np.uint8), labels


def ltjax_steps(
    sam: bool = True, dtype: str = "float32", seeds: int = 1, **training: int
) -> tuple[Callable[[int], int], experiment.Experiment]:
    """What trains so many steps, or a few more, and returns how many; and the experiment.
    `training`: fields of the config.
    """
    import jax

    from configs import ldam_drw_sam
    from ltjax import data
    from ltjax.experiment import experiment, settings
    from ltjax.training import programs

    images, labels = pixels()
    noise = data.Dataset(
        "cifar10", images, labels, images[:100], labels[:100], tuple("0123456789"), "noise"
    )
    data.DATASETS["cifar10"] = lambda folder, *, download: noise
    config = ldam_drw_sam.get_config()
    config.data.profile, config.model.dtype, config.sam.enabled = "full", dtype, sam
    config.training.drop_last, config.evaluation.batch_size = True, 100
    config.training.update(training)
    built = experiment.build(settings.resolve(config))
    running = programs.create(built, seeds)
    state, per_epoch = (
        running.together([built.of_seed(seed).create_state() for seed in range(seeds)]),
        built.steps_per_epoch,
    )
    epoch = built.settings(20)
    position = 0

    def run(steps):
        nonlocal state, position
        done = 0
        while done < steps:
            if position >= per_epoch:
                state, position = running.next_epoch(state), 0
            state, after = running.advance(state, position, epoch)
            done, position = done + after - position, after
            if running.check_every:  # the loop looks at the loss then, and so waits for it
                jax.block_until_ready(state.running)
        jax.block_until_ready(state)
        return done

    return run, built


def ltjax_side(
    options: argparse.Namespace, seeds: int = 1, cpu_options: bool = True, **choices: Any
) -> dict:
    import jax

    from ltjax import devices

    if not cpu_options:
        devices.CPU_OPTIONS.clear()
    began = time.perf_counter()
    run, built = ltjax_steps(seeds=seeds, **choices)
    run(1)
    compiling = time.perf_counter() - began
    device = f"{len(built.devices)} x {built.devices[0].device_kind}"
    row = timed(
        lambda steps: seeds * run(steps),
        options,
        lambda: (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0),
    )
    return {"compiling_seconds": compiling, "device": device, "version": jax.__version__} | row


def torch_side(options: argparse.Namespace, sam: bool, tuned: bool, compiled: bool) -> dict:
    import torch

    from parity_tests import reference

    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    torch.backends.cudnn.benchmark = True
    images, labels = pixels()
    images, labels = (
        torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(labels.astype(np.int64)),
    )
    model = reference.ResNet(5, 10, normalized=True).to(device)
    if tuned:
        model = model.to(memory_format=torch.channels_last)
    forward = (
        torch.compile(model, mode="max-autotune-no-cudagraphs" if not on_gpu else "max-autotune")
        if compiled
        else model
    )
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=0.1,
        momentum=0.9,
        weight_decay=2e-4,
        fused=True if tuned and on_gpu else None,
    )
    ascending = reference.SAM(optimizer, 0.8)
    weights = torch.ones(10, device=device)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
    margins = torch.tensor(
        reference.ldam_margins(np.asarray(COUNTS)), dtype=torch.float32, device=device
    )

    def augmented(x):
        """Crop by a gather of rows and columns and flip, all on the batch's device."""
        x = torch.nn.functional.pad(x, (4, 4, 4, 4))
        rows = torch.randint(0, 9, (len(x), 1), device=x.device) + torch.arange(32, device=x.device)
        columns = torch.randint(0, 9, (len(x), 1), device=x.device) + torch.arange(
            32, device=x.device
        )
        columns = torch.where(
            torch.rand(len(x), 1, device=x.device) < 0.5, columns.flip(1), columns
        )
        x = x[
            torch.arange(len(x), device=x.device)[:, None, None],
            :,
            rows[:, :, None],
            columns[:, None, :],
        ]
        x = (x.permute(0, 3, 1, 2).float() / 255 - mean) / std
        return x.contiguous(memory_format=torch.channels_last) if tuned else x.contiguous()

    def loss_of(x, y):
        with torch.autocast("cuda", torch.bfloat16, enabled=tuned and on_gpu):
            logits = forward(x).float()
        margin = torch.nn.functional.one_hot(y, 10) * margins[y][:, None]
        losses = torch.nn.functional.cross_entropy(30 * (logits - margin), y, reduction="none")
        return (weights[y] * losses).sum() / weights[y].sum()

    def step(x, y):
        if sam:
            loss_of(x, y).backward()
            ascending.ascend()
            loss_of(x, y).backward()
            ascending.descend()
        else:
            optimizer.zero_grad()
            loss_of(x, y).backward()
            optimizer.step()

    batches = (
        loader(images, labels, device)
        if on_gpu and not tuned
        else shuffled(images.to(device), labels.to(device))
    )

    def run(steps):
        for _ in range(steps):
            x, y = next(batches)
            step(augmented(x), y)
        if on_gpu:
            torch.cuda.synchronize()
        return steps

    began = time.perf_counter()
    run(1)
    compiling = time.perf_counter() - began
    name = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} threads"
    peak = torch.cuda.max_memory_allocated if on_gpu else lambda: 0
    return {"compiling_seconds": compiling, "device": name, "version": torch.__version__} | timed(
        run, options, peak
    )


def shuffled(images, labels):
    import torch

    while True:
        for batch in torch.randperm(len(labels), device=labels.device).split(BATCH)[:-1]:
            yield images[batch], labels[batch]


def loader(images, labels, device):
    import torch

    loaded = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, labels),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=4,
        pin_memory=True,
        persistent_workers=True,
    )
    while True:
        for x, y in loaded:
            yield x.to(device, non_blocking=True), y.to(device, non_blocking=True)


def timed(run, options: argparse.Namespace, peak) -> dict:
    run(options.steps)
    print(READY, flush=True)
    rates = []
    for _ in range(options.repeats):
        sys.stdin.readline()
        began = time.perf_counter()
        steps = run(options.steps)
        rates.append(steps * BATCH / (time.perf_counter() - began))
        print(READY, flush=True)
    return {
        "images_per_second": statistics.median(rates),
        "spread": [min(rates), max(rates)],
        "peak_device_mib": round(peak() / 2**20),
        "peak_host_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to train. `when`: always, cpu, gpu, or tries (on --tries alone); `flags`: for XLA."""

    side: Callable[..., dict]
    choices: dict[str, Any]
    when: str = "always"
    flags: str | None = None


def ours(when: str = "always", flags: str | None = None, **choices: Any) -> Variant:
    return Variant(ltjax_side, choices, when, flags)


def theirs(sam: bool, tuned: bool, compiled: bool) -> Variant:
    return Variant(torch_side, {"sam": sam, "tuned": tuned, "compiled": compiled})


BFLOAT16 = "ltjax, bfloat16"
VARIANTS = {
    "ltjax": ours(),
    BFLOAT16: ours("gpu", dtype="bfloat16"),
    f"{BFLOAT16}, 8 seeds": ours("gpu", dtype="bfloat16", seeds=8),
    "ltjax, no SAM": ours(sam=False),
    "ltjax, one step a call": ours("cpu", steps_per_call=1),
    "ltjax, no SAM, one step a call": ours("cpu", sam=False, steps_per_call=1),
    "ltjax, XLA's scheduler": ours("cpu", cpu_options=False),
    "ltjax, no SAM, XLA's scheduler": ours("cpu", sam=False, cpu_options=False),
    "PyTorch": theirs(True, False, False),
    "PyTorch, tuned": theirs(True, True, False),
    "PyTorch, tuned and compiled": theirs(True, True, True),
    "PyTorch, tuned, no SAM": theirs(False, True, False),
    f"{BFLOAT16}, one step a call": ours("tries", dtype="bfloat16", steps_per_call=1),
    f"{BFLOAT16}, 4 steps a turn": ours("tries", dtype="bfloat16", unroll=4),
    f"{BFLOAT16}, the loop in a CUDA graph": ours(
        "tries", "--xla_gpu_enable_command_buffer=+WHILE", dtype="bfloat16"
    ),
    f"{BFLOAT16}, no CUDA graphs": ours(
        "tries", "--xla_gpu_enable_command_buffer=", dtype="bfloat16"
    ),
    f"{BFLOAT16}, no autotuning": ours("tries", "--xla_gpu_autotune_level=0", dtype="bfloat16"),
    f"{BFLOAT16}, 2 seeds": ours("tries", dtype="bfloat16", seeds=2),
    f"{BFLOAT16}, 8 seeds in turn": ours("tries", dtype="bfloat16", seeds=8, vmap_seeds=0),
}
"""In the order in which they are measured."""
FLOOR_SECONDS = {"NVIDIA H200": 7.0}
"""Of the recipe's memory traffic alone, by device (docs/performance.md)."""


def chosen(options: argparse.Namespace, on_gpu: bool) -> list[str]:
    if options.variants:
        return options.variants.split(";")
    if options.tries:
        return [
            BFLOAT16,
            f"{BFLOAT16}, 8 seeds",
            *(name for name, variant in VARIANTS.items() if variant.when == "tries"),
        ]
    return [
        name
        for name, variant in VARIANTS.items()
        if variant.when in ("always", "gpu" if on_gpu else "cpu")
    ]


def speedups(rows: dict[str, dict]) -> dict[str, float]:
    """Ratios of what was measured: ltjax's fastest against each PyTorch, without SAM too, and each
    way against the plain one.
    """
    rate = {name: row["images_per_second"] for name, row in rows.items()}
    ratios = {}
    single = [name for name in ("ltjax", BFLOAT16) if name in rate]
    if single:
        best = max(single, key=rate.__getitem__)
        ratios = {
            f"{best} against {name}": rate[best] / rate[name]
            for name in rate
            if name.startswith("PyTorch") and "no SAM" not in name
        }
    pairs = [
        ("ltjax, no SAM", "PyTorch, tuned, no SAM"),
        *((name, f"{name}, one step a call") for name in ("ltjax", "ltjax, no SAM")),
        *((name, f"{name}, XLA's scheduler") for name in ("ltjax", "ltjax, no SAM")),
        *((name, BFLOAT16) for name in rate if name.startswith(f"{BFLOAT16},")),
    ]
    return ratios | {
        f"{one} against {other}": rate[one] / rate[other]
        for one, other in pairs
        if {one, other} <= rate.keys()
    }


def measured(names: list[str], options: argparse.Namespace) -> dict[str, dict]:
    command = [sys.executable, __file__, f"--steps={options.steps}", f"--repeats={options.repeats}"]
    flags = {name: VARIANTS[name].flags for name in names}
    return take_turns(
        {name: [*command, f"--variant={name}"] for name in names},
        options.repeats,
        options.limit,
        {name: {"XLA_FLAGS": given} for name, given in flags.items() if given is not None},
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=0,
        help="of one stretch; 0 is 8 on a CPU, 194 (two epochs) on a GPU",
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--variants", default="", help="by semicolons; all that suit the device by default"
    )
    parser.add_argument(
        "--tries",
        action="store_true",
        help="ways to make ltjax faster on a GPU, instead of the comparison",
    )
    parser.add_argument(
        "--limit", type=int, default=150, help="seconds after which a variant is given up"
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        variant = VARIANTS[options.variant]
        print(json.dumps(variant.side(options, **variant.choices)))
        return
    unknown = sorted(set(filter(None, options.variants.split(";"))) - set(VARIANTS))
    if unknown:
        parser.error(f"--variants names {unknown[0]!r}; expected some of: {'; '.join(VARIANTS)}")
    import torch

    on_gpu = torch.cuda.is_available()
    options.steps = options.steps or (194 if on_gpu else 8)
    names = chosen(options, on_gpu)
    rows = {}
    for name, row in (
        pair
        for group in ([[name] for name in names] if on_gpu else [names])
        for pair in measured(group, options).items()
    ):
        rows[name] = row
        row["recipe_seconds"] = RECIPE_IMAGES / row["images_per_second"]
        floor = FLOOR_SECONDS.get(row["device"].removeprefix("1 x "))
        print(
            f"{row['images_per_second']:9.0f} images/s"
            f" ({row['spread'][0]:.0f} to {row['spread'][1]:.0f})  {name}:"
            f" first step after {row['compiling_seconds']:.1f} s,"
            f" {row['peak_device_mib'] or row['peak_host_mib']} MiB, {row['device']};"
            f" the recipe's 200 epochs in {row['recipe_seconds'] / 60:.1f} minutes"
            + (f", {row['recipe_seconds'] / floor:.0f} times the floor" if floor else ""),
            flush=True,
        )
    ratios = speedups(rows)
    for name, ratio in ratios.items():
        print(f"{ratio:.2f} times as fast: {name}")
    if options.out:
        record = {
            "what": __doc__.splitlines()[0],
            "rows": rows,
            "ratios": ratios,
            "steps": options.steps,
            "repeats": options.repeats,
            **records.circumstances(next(iter(rows.values()))["device"]),
        }
        records.save(options.out, record)


if __name__ == "__main__":
    main()

"""Training speed of LDAM + DRW + SAM with ResNet-32 on CIFAR-10-LT: ltjax against PyTorch on the same device, in one run.

  python benchmarks/train.py --out docs/results/train_cpu.json        under 10 minutes on a CPU or a GPU

Every variant trains the recipe's own step (batch 128, crop, flip, both SAM passes, momentum, weight decay) on 12,406 images of random
pixels with the counts of CIFAR-10-LT; variants run in processes of their own, one after the other. A figure is the median rate over
--repeats stretches of --steps steps, after compilation and as many warm-up steps.

  ltjax             float32; on a GPU also bfloat16, and whole epochs in one call
  ltjax, no SAM     the same with one pass a step
  PyTorch           eager, contiguous NCHW, augmentation as tensor operations on the batch; on a GPU the images come from a DataLoader
                    with workers, as in the authors' program, and cuDNN's benchmark mode is on
  PyTorch, tuned    on a CPU: channels_last, eager and through torch.compile; on a GPU: images and augmentation on the GPU, channels_last,
                    bfloat16 autocast, torch.compile with CUDA graphs
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

BATCH = 128
COUNTS = (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
RECIPE_IMAGES = 200 * sum(COUNTS)


def pixels() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(10, dtype=np.int32), COUNTS)
    return generator.integers(0, 256, (len(labels), 32, 32, 3), np.uint8), labels


def ltjax_side(options: argparse.Namespace, sam: bool, dtype: str) -> dict:
    import jax

    from configs import ldam_drw_sam
    from ltjax import data
    from ltjax.training import experiment, programs, settings

    images, labels = pixels()
    noise = data.Dataset("cifar10", images, labels, images[:100], labels[:100], tuple("0123456789"), "noise")
    data.DATASETS["cifar10"] = lambda folder, *, download: noise
    config = ldam_drw_sam.get_config()
    config.data.profile, config.model.dtype, config.sam.enabled = "full", dtype, sam
    config.training.drop_last, config.evaluation.batch_size = True, 100
    began = time.perf_counter()
    built = experiment.build(settings.resolve(config))
    running = programs.create(built)
    state, per_epoch = built.create_state(), built.steps_per_epoch
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
        jax.block_until_ready(state)
        return done

    run(1)
    compiling = time.perf_counter() - began
    device = f"{len(built.devices)} x {built.devices[0].device_kind}"
    return {"compiling_seconds": compiling, "device": device, "version": jax.__version__} | timed(
        run, options, lambda: (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    )


def torch_side(options: argparse.Namespace, sam: bool, tuned: bool, compiled: bool) -> dict:
    import torch

    from parity_tests import reference

    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    torch.backends.cudnn.benchmark = True
    images, labels = pixels()
    images, labels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels.astype(np.int64))
    model = reference.ResNet(5, 10, normalized=True).to(device)
    if tuned:
        model = model.to(memory_format=torch.channels_last)
    forward = torch.compile(model, mode="max-autotune-no-cudagraphs" if not on_gpu else "max-autotune") if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4, fused=True if tuned and on_gpu else None)
    ascending = reference.SAM(optimizer, 0.8)
    weights = torch.ones(10, device=device)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
    margins = torch.tensor(reference.ldam_margins(np.asarray(COUNTS)), dtype=torch.float32, device=device)

    def augmented(x):
        """Crop by a gather of rows and columns and flip, all on the batch's device."""
        x = torch.nn.functional.pad(x, (4, 4, 4, 4))
        rows = torch.randint(0, 9, (len(x), 1), device=x.device) + torch.arange(32, device=x.device)
        columns = torch.randint(0, 9, (len(x), 1), device=x.device) + torch.arange(32, device=x.device)
        columns = torch.where(torch.rand(len(x), 1, device=x.device) < 0.5, columns.flip(1), columns)
        x = x[torch.arange(len(x), device=x.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
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

    batches = loader(images, labels, device) if on_gpu and not tuned else shuffled(images.to(device), labels.to(device))

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
    return {"compiling_seconds": compiling, "device": name, "version": torch.__version__} | timed(run, options, peak)


def shuffled(images, labels):
    import torch

    while True:
        for batch in torch.randperm(len(labels), device=labels.device).split(BATCH)[:-1]:
            yield images[batch], labels[batch]


def loader(images, labels, device):
    import torch

    loaded = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, labels), BATCH, shuffle=True, drop_last=True, num_workers=4, pin_memory=True,
        persistent_workers=True,
    )  # fmt: skip
    while True:
        for x, y in loaded:
            yield x.to(device, non_blocking=True), y.to(device, non_blocking=True)


def timed(run, options: argparse.Namespace, peak) -> dict:
    run(options.steps)
    rates = []
    for _ in range(options.repeats):
        began = time.perf_counter()
        steps = run(options.steps)
        rates.append(steps * BATCH / (time.perf_counter() - began))
    return {
        "images_per_second": statistics.median(rates),
        "spread": [min(rates), max(rates)],
        "peak_device_mib": round(peak() / 2**20),
        "peak_host_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


VARIANTS = {
    "ltjax": lambda options: ltjax_side(options, True, "float32"),
    "ltjax, bfloat16": lambda options: ltjax_side(options, True, "bfloat16"),
    "ltjax, no SAM": lambda options: ltjax_side(options, False, "float32"),
    "PyTorch": lambda options: torch_side(options, True, False, False),
    "PyTorch, tuned": lambda options: torch_side(options, True, True, False),
    "PyTorch, tuned and compiled": lambda options: torch_side(options, True, True, True),
    "PyTorch, tuned, no SAM": lambda options: torch_side(options, False, True, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=0, help="of one stretch; 0 is 8 on a CPU, 194 (two epochs) on a GPU")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--variants", default="", help="by semicolons; all that suit the device by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(VARIANTS[options.variant](options)))
        return
    import torch

    on_gpu = torch.cuda.is_available()
    options.steps = options.steps or (194 if on_gpu else 8)
    wanted = options.variants.split(";") if options.variants else [name for name in VARIANTS if on_gpu or name != "ltjax, bfloat16"]
    rows = {}
    for name in wanted:
        command = [sys.executable, __file__, f"--variant={name}", f"--steps={options.steps}", f"--repeats={options.repeats}"]
        finished = subprocess.run(command, capture_output=True, text=True)
        if finished.returncode:
            print(f"{name}: failed ({(finished.stderr.strip().splitlines() or ['?'])[-1][:160]})", flush=True)
            continue
        rows[name] = row = json.loads(finished.stdout.splitlines()[-1])
        print(
            f"{row['images_per_second']:9.0f} images/s ({row['spread'][0]:.0f} to {row['spread'][1]:.0f})  {name}: first step after"
            f" {row['compiling_seconds']:.1f} s, {row['peak_device_mib'] or row['peak_host_mib']} MiB, {row['device']};"
            f" the recipe's 200 epochs in {RECIPE_IMAGES / row['images_per_second'] / 60:.1f} minutes",
            flush=True,
        )
    ratios = {}
    if "ltjax" in rows:
        ours = max(row["images_per_second"] for name, row in rows.items() if name.startswith("ltjax") and "no SAM" not in name)
        for name, row in rows.items():
            if name.startswith("PyTorch") and "no SAM" not in name:
                ratios[name] = ours / row["images_per_second"]
        if {"ltjax, no SAM", "PyTorch, tuned, no SAM"} <= rows.keys():
            ratios["without SAM, PyTorch, tuned"] = (
                rows["ltjax, no SAM"]["images_per_second"] / rows["PyTorch, tuned, no SAM"]["images_per_second"]
            )
    for name, ratio in ratios.items():
        print(f"ltjax is {ratio:.2f} times as fast as: {name}")
    if options.out:
        revision = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        record = {"what": __doc__.splitlines()[0], "rows": rows, "ratios": ratios, "steps": options.steps, "repeats": options.repeats}
        record |= {"cores": os.cpu_count(), "host": platform.machine(), "revision": revision, "time": time.strftime("%Y-%m-%d")}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

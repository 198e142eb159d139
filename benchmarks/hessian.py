"""Class-wise Hessian spectra of ResNet-32: ltjax against the same algorithm in eager PyTorch
double-backward, in one run.

  python benchmarks/hessian.py --out docs/results/hessian_speed.json        8 minutes on 2 cores

Each side computes, for --classes classes of --images images each, the density of --steps Lanczos
steps with full re-orthogonalisation (twice) from one Rademacher probe, in float32. Sides run one
after the other in processes of their own, so that each has its own peak memory; compilation is not
counted. Each first picks, on five steps, the fastest of the batch sizes in BATCHES. ltjax keeps
what does not change between the products of a class, up to --keep_gib (PyTorch's eager
double-backward has no way to). Both must find the same extreme eigenvalues.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks import records  # noqa: E402

BATCHES = (32, 64, 128)


def problem(options):
    """The same weights, images and probes for both sides."""
    import torch

    from parity_tests import reference

    torch.manual_seed(0)
    network = reference.ResNet(5, 10)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(options.classes, options.images, 32, 32, 3)).astype(np.float32)
    size = sum(parameter.numel() for parameter in network.parameters())
    probes = generator.choice([-1.0, 1.0], size=(options.classes, size)).astype(np.float32)
    return network, images, probes


def ours(options):
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    from ltjax import devices, hessian, losses, models
    from ltjax.hessian.lanczos import Runner

    used = devices.use_devices(BATCHES[0])
    network, images, probes = problem(options)
    variables = models.from_torch("resnet32", network.state_dict())
    model = models.create("resnet32", 10)
    sharding = devices.batch_sharding(used)
    names = list(dict(network.named_parameters()))
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}

    def losses_fn(params, batch):
        logits = model.apply({**variables, "params": params}, batch[0])
        return losses.cross_entropy(logits, batch[1])

    def start(probe):
        arrays, at = {name: value.numpy() for name, value in network.named_buffers()}, 0
        for name in names:
            length = int(np.prod(shapes[name]))
            arrays[name] = probe[at : at + length].reshape(shapes[name])
            at += length
        return models.from_torch("resnet32", arrays)["params"]

    def spectrum(label, batch, steps):
        examples = (images[label], np.full(options.images, label, np.int32))
        operator = hessian.DatasetOperator(
            losses_fn,
            variables["params"],
            examples,
            batch,
            sharding=sharding,
            scan=False,
            keep_bytes=int(options.keep_gib * 2**30),
        )
        run = Runner(operator, variables["params"], steps)(start(probes[label]))
        return run.alphas, run.betas

    assert ravel_pytree(variables["params"])[0].dtype == jnp.float32
    device = f"{len(used)} x {used[0].device_kind}"
    return timed(options, spectrum) | {"device": device, "version": jax.__version__}


def theirs(options):
    import torch

    network, images, probes = problem(options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    parameters = list(network.parameters())

    def product(batches, vector):
        total = torch.zeros_like(vector)
        parts = torch.split(vector, [parameter.numel() for parameter in parameters])
        directions = [
            part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)
        ]
        for x, y in batches:
            loss = (
                torch.nn.functional.cross_entropy(network(x), y, reduction="sum") / options.images
            )
            grads = torch.autograd.grad(loss, parameters, create_graph=True)
            dot = sum(
                (grad * direction).sum() for grad, direction in zip(grads, directions, strict=True)
            )
            total += torch.cat([out.reshape(-1) for out in torch.autograd.grad(dot, parameters)])
        return total

    def spectrum(label, batch, steps):
        x = torch.tensor(images[label].transpose(0, 3, 1, 2), device=device).to(
            memory_format=torch.channels_last
        )
        y = torch.full((options.images,), label, device=device)
        batches = list(zip(torch.split(x, batch), torch.split(y, batch), strict=True))
        basis = torch.zeros(steps + 1, probes.shape[1], device=device)
        basis[0] = torch.tensor(probes[label], device=device)
        basis[0] /= basis[0].norm()
        alphas, betas = [], []
        for j in range(steps):
            rest = product(batches, basis[j])
            alphas.append(float(basis[j] @ rest))
            for _ in range(2):
                rest = rest - (basis[: j + 1] @ rest) @ basis[: j + 1]
            betas.append(float(rest.norm()))
            basis[j + 1] = rest / betas[-1]
        return alphas, betas[:-1]

    name = (
        torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    )
    return timed(options, spectrum) | {"device": name, "version": torch.__version__}


def timed(options, spectrum):
    """Seconds of each class's spectrum with the fastest batch size, which short trials find (they
    also compile).
    """
    trials = {}
    for batch in BATCHES:
        if batch <= max(options.images, BATCHES[0]):
            spectrum(0, batch, 2)
            began = time.perf_counter()
            spectrum(0, batch, 5)
            trials[batch] = round(time.perf_counter() - began, 3)
    batch = min(trials, key=trials.get)
    seconds, ends = [], []
    for label in range(options.classes):
        began = time.perf_counter()
        alphas, betas = spectrum(label, batch, options.steps)
        values = np.linalg.eigvalsh(np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1))
        seconds.append(time.perf_counter() - began)
        ends.append([float(values[0]), float(values[-1])])
    return {"batch": batch, "trials": trials, "seconds": seconds, "ends": ends}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--images", type=int, default=128, help="of each class")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument(
        "--keep_gib", type=float, default=1.0, help="ltjax may keep so much between products"
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", choices=("ltjax", "pytorch"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        found = {"ltjax": ours, "pytorch": theirs}[options.side](options)
        found["peak_host_memory_mib"] = round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        )
        print(json.dumps(found))
        return
    sides = {}
    for side in ("pytorch", "ltjax"):
        command = [sys.executable, __file__, "--side", side]
        command += [
            f"--{name}={getattr(options, name)}"
            for name in ("classes", "images", "steps", "keep_gib")
        ]
        sides[side] = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[
                -1
            ]
        )
        mean = float(np.mean(sides[side]["seconds"]))
        print(
            f"{side:8} {mean:8.2f} s a spectrum (batch {sides[side]['batch']}),"
            f" {sides[side]['peak_host_memory_mib']} MiB, {sides[side]['device']}",
            flush=True,
        )
    ratio = float(np.mean(sides["pytorch"]["seconds"]) / np.mean(sides["ltjax"]["seconds"]))
    worst = float(np.max(np.abs(np.divide(sides["ltjax"]["ends"], sides["pytorch"]["ends"]) - 1)))
    print(
        f"ltjax is {ratio:.2f} times as fast;"
        f" extreme eigenvalues differ by at most {worst:.1e} of themselves"
    )
    if options.out:
        record = {
            "what": __doc__.splitlines()[0],
            "steps": options.steps,
            "images": options.images,
            "keep_gib": options.keep_gib,
            "ratio": ratio,
            "worst_difference": worst,
        }
        records.save(options.out, record | records.circumstances(sides["ltjax"]["device"]) | sides)


if __name__ == "__main__":
    main()

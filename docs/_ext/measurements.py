"""Tables of measurements that are no accuracies: speed, memory, mutants."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scipy import stats


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def each_run(value: list[float]) -> str:
    return f"{min(value):.0f} to {max(value):.0f}"


def hessian_speed(records: dict[str, Any]) -> str:
    one = records["hessian_speed"]
    sides = {"eager PyTorch, double backward": "pytorch", "ltjax, keeping 1 GiB": "ltjax"}
    return table(
        ["", "seconds a spectrum", "peak memory of the process"],
        [
            [
                name,
                f"{sum(one[side]['seconds']) / len(one[side]['seconds']):.1f}",
                f"{one[side]['peak_host_memory_mib']:,} MiB",
            ]
            for name, side in sides.items()
        ],
    )


def input_pipeline(records: dict[str, Any]) -> str:
    one, rows = records["input"], []
    names = ("torch, with jitter", "torch, without jitter", "ltjax")
    for workers, heading in ((1, "one worker process"), (2, "two worker processes")):
        jitter, plain, ours = (one[f"{workers}_workers_images_per_second"][name] for name in names)
        ratio = f"{ours / jitter:.2f} ({ours / plain:.2f} without jitter)"
        rows.append([heading, f"{jitter:.0f}", f"{plain:.0f}", f"{ours:,.0f}", ratio])
    threads = one["ltjax_in_threads_images_per_second"]
    ratio = f"{threads / jitter:.2f} times torch's two workers ({threads / plain:.2f})"
    rows.append(["no worker process: two threads", "", "", f"{threads:,.0f}", ratio])
    return table(["images/s", *names, "ltjax / torch"], rows)


def augmentation(records: dict[str, Any]) -> str:
    rows = records["augment"]["variants"]
    return table(
        ["", "seconds a step", "over crop and flip, %"],
        [
            [name, f"{row['seconds_a_step']:.3f}", f"{100 * row['over_crop_and_flip']:+.1f}"]
            for name, row in rows.items()
        ],
    )


def train_cpu(records: dict[str, Any]) -> str:
    run = records["train_cpu"]
    names = {
        "ltjax": ("ltjax, LDAM + DRW + SAM", ""),
        "ltjax, one step a call": ("the same, one step a call", "ltjax"),
        "ltjax, XLA's scheduler": ("the same with XLA's default scheduler", "ltjax"),
        "PyTorch": ("PyTorch, eager, contiguous", "ltjax"),
        "PyTorch, tuned": ("PyTorch, channels_last", "ltjax"),
        "PyTorch, tuned and compiled": ("PyTorch, channels_last, torch.compile", "ltjax"),
        "ltjax, no SAM": ("ltjax without SAM", ""),
        "ltjax, no SAM, one step a call": ("the same, one step a call", "ltjax, no SAM"),
        "ltjax, no SAM, XLA's scheduler": (
            "the same with XLA's default scheduler",
            "ltjax, no SAM",
        ),
        "PyTorch, tuned, no SAM": ("PyTorch without SAM, channels_last", "ltjax, no SAM"),
    }
    rows = []
    for name, (heading, ours) in names.items():
        row = run["rows"][name]
        rate = row["images_per_second"]
        ratio = f"{run['rows'][ours]['images_per_second'] / rate:.2f}" if ours else ""
        rows.append([heading, f"{rate:.0f} ({each_run(row['spread'])})", ratio])
    head = ["", f"{run['cpu']}: images/s (lowest to highest of {run['repeats']})", "ltjax / it"]
    return table(head, rows)


def networks_cpu(records: dict[str, Any]) -> str:
    rows = []
    for one in records["networks_cpu"]["rows"].values():
        rates = {name: side["images_per_second"] for name, side in one["measured"].items()}
        theirs = rates.pop("PyTorch")
        form = ".0f" if min(theirs, *rates.values()) >= 10 else ".1f"
        case = f"{one['network']}, {one['pixels']}, {one['batch']}"
        ours = format(max(rates.values()), form)
        rows.append([case, ours, format(theirs, form), f"{one['ratio']:.2f}"])
    return table(["network, pixels, batch", "ltjax images/s", "PyTorch", "ltjax / it"], rows)


def evaluate_cpu(records: dict[str, Any]) -> str:
    rows = records["evaluate_cpu"]["rows"]
    return table(
        ["network, pixels", "before", "since"],
        [[name, f"{row['before']:.0f}", f"{row['since']:.0f}"] for name, row in rows.items()],
    )


def mutants(records: dict[str, Any]) -> str:
    rooms: dict[str, Counter[str]] = defaultdict(Counter)
    for module, found in records["mutants"]["modules"].items():
        survivors = found["survivors"]
        counts = {key: found[key] for key in ("mutants", "judged", "killed")}
        counts["equivalent"] = sum("why" in one for one in survivors)
        counts["since"] = sum(one.get("now") == "killed" for one in survivors)
        for room in (Path(module).parts[1].removesuffix(".py"), "*all*"):
            rooms[room].update(counts)
    rows = []
    for room in (*sorted(set(rooms) - {"*all*"}), "*all*"):
        found = rooms[room]
        rows.append([room, *(str(found[key]) for key in ("mutants", "judged", "killed"))])
        others = max(found["judged"] - found["equivalent"], 1)
        share = stats.binomtest(found["killed"], others).proportion_ci(method="wilson")
        rows[-1] += [str(found["equivalent"]), f"{100 * share.low:.0f} to {100 * share.high:.0f} %"]
        rows[-1] += [str(found["since"])]
    head = ["module", "mutants", "judged", "killed", "equivalent"]
    return table([*head, "killed of the others, 95 %", "killed by a test since"], rows)


def methods_cost(records: dict[str, Any]) -> str:
    return table(
        ["method", "ms a step", "times cross-entropy's", "passes"],
        [
            [
                name,
                f"{row['milliseconds']:.0f}",
                f"{row['ratio']:.2f}",
                f"{row['expected']:g}" if row["expected"] else "",
            ]
            for name, row in records["methods_cost_cpu"]["rows"].items()
        ],
    )


def train_profile(records: dict[str, Any]) -> str:
    one = records["train_profile_cpu"]
    largest = sorted(one["operations"].items(), key=lambda item: -item[1])[:8]
    return table(
        ["operation", "ms a step", "%"],
        [
            [f"`{name}`", f"{ms:.0f}", f"{100 * ms / one['milliseconds_a_step']:.0f}"]
            for name, ms in largest
        ],
    )


def startup(records: dict[str, Any]) -> str:
    names = {
        "to the first step": "from the command to its first finished step",
        "whole command": "two steps, evaluation of 10,000 images, checkpoint, report",
    }
    seconds = records["startup"]["seconds"]
    return table(
        ["seconds, the better of two", "first start", "later"],
        [
            [text, *(f"{min(seconds[name][when]):.1f}" for when in ("first", "later"))]
            for name, text in names.items()
        ],
    )

"""Records: the JSON files of docs/results, by docs/results/schema.json.

A list of figures (accuracies in %), or one measurement. Where pages and the leaderboard take their
numbers from.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltjax.report.runs import Summary

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "docs" / "results" / "schema.json"
NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "digits": "digits"}
MIXTURES = {"mixup": "mixup", "cutmix": "CutMix", "remix": "Remix", "cmo": "CMO"}
POLICIES = {"rand_augment": "RandAugment"}
OTHER_FIGURES = ("many", "medium", "few", "balanced_accuracy", "macro_f1")


def circumstances(device: str = "") -> dict[str, Any]:
    """Device, processor, cores, revision and date of what is measured now; a CPU's by default."""
    cores = os.cpu_count()
    revision = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return {
        "device": device or f"{cpu_name()}, {cores} cores",
        "cpu": cpu_name(),
        "cores": cores,
        "revision": revision,
        "time": time.strftime("%Y-%m-%d"),
    }


def cpu_name() -> str:
    """Of the first core, with the widest vectors that it has."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    found = {name.strip(): value.strip() for name, value in fields.items()}
    widest = [name for name in ("amx_bf16", "avx512f", "avx2") if name in found.get("flags", "")]
    return ", ".join([found.get("model name", platform.machine()), *widest[:1]])


def save(path: Path, record: dict | list) -> None:
    """Writes a record, then checks it: nothing measured is lost to a key that the schema lacks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(record), encoding="utf-8")
    try:
        wrong = complaints(record)
    except ImportError:
        print(f"{path} is written, not checked: pip install jsonschema", file=sys.stderr)
        return
    if wrong:
        sys.exit(f"{path} is written, but not as {SCHEMA.name} asks:\n" + "\n".join(wrong))


def text(record: dict | list) -> str:
    """JSON, arrays of numbers and short objects on one line each."""
    lines = json.dumps(record, indent=1, ensure_ascii=False)
    lines = re.sub(r"\[[\d\s.,eE+\-\[\]]*\]", lambda found: _joined(found[0], 10**6), lines)
    return re.sub(r"\{[^{}]*\}", lambda found: _joined(found[0], 90), lines) + "\n"


def _joined(lines: str, width: int) -> str:
    line = re.sub(r"\n\s*", " ", lines).replace("[ ", "[").replace(" ]", "]")
    line = line.replace("{ ", "{").replace(" }", "}")
    return line if len(line) <= width else lines


def complaints(record: dict | list) -> list[str]:
    """What the schema finds wrong, a line each."""
    import jsonschema

    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(record)]


def figure(
    summary: dict[str, Any], identifier: str, status: str, parameters: int | None
) -> dict[str, Any]:
    """A record of runs that differ in the seed.

    Args:
      summary: of `ltjax.report`, one of a summary.json's list.
      identifier: of this record alone.
      status: "measured" (the recipe's whole schedule on all its images), or "short run".
      parameters: of the network.
    """
    config, last = summary["config"], summary["last_epoch"]
    lengths = [config.get(f"stage.{name}.epochs", 0) for name in config.get("stages") or []]
    pairs = {name: last[name] for name in OTHER_FIGURES if name in last}
    groups = {name: pairs.pop(name) for name in ("many", "medium", "few") if name in pairs}
    best = summary["best_epoch_accuracy"]
    return {
        "id": identifier,
        "status": status,
        "method": summary["title"],
        "recipe": config["name"],
        "data": data_set(summary),
        "network": {
            "name": config["model.name"]
            + (f", width {config['model.width']}" if config["model.width"] else ""),
            "parameters": parameters,
            "pretraining": portable("init_from", config["init_from"]) or None,
        },
        "epochs": max(summary["epochs"]),
        "stages": " + ".join(str(length) for length in lengths)
        if len(lengths) > 1 and sum(lengths) == max(summary["epochs"])
        else None,
        "batch_size": config.get("training.batch_size"),
        "augmentation": augmentation(config),
        "selection": "last epoch",
        "runs": len(summary["seeds"]),
        "seeds": summary["seeds"],
        "accuracy": last["test_accuracy"],
        "best_epoch": best,
        "groups": groups or None,
        **pairs,
        "device": summary["device"],
        "hours": [round(seconds / 3600, 2) for seconds in summary["training_seconds"]],
        "peak_memory_mib": summary.get("peak_memory_mib"),
        "versions": summary["versions"],
        "revision": summary["git"],
        "time": summary["time"],
        "command": told(summary.get("command")),
        "details": {
            "config": {
                name: portable(name, value) for name, value in config.items() if name != "data.dir"
            },
            "published_best_epoch": summary["published_best_epoch"],
            **{name: value for name, value in summary.items() if name.startswith("last_epoch_")},
        },
    }


def figure_of(summary: Summary, identifier: str, status: str = "") -> dict[str, Any]:
    """The record of runs in their work directories;
    a short run if it ends before the recipe does, or on fewer images.
    """
    import jax  # here, since speeds are measured without it

    from ltjax import recipes
    from ltjax.experiment.initial import run_variables

    first = summary.runs[0]
    parameters = sum(leaf.size for leaf in jax.tree.leaves(run_variables(first.path)["params"]))
    own = recipes.load(first.config["name"])
    whole = first.config["training.epochs"] >= (
        own.training.epochs or own.training.published_epochs
    ) and first.config["data.max_count"] in (0, own.data.max_count)
    record = figure(
        summary.as_json(),
        identifier,
        status or ("measured" if whole else "short run"),
        parameters,
    )
    if first.confusion is not None:
        record["data"]["test_images"] = int(first.confusion.sum())
    return record


def slug(*parts: str) -> str:
    """Such as system_b-alpha_0.9."""
    return "-".join(re.sub(r"[^a-z0-9.]+", "_", part.lower()).strip("_") for part in parts)


def data_set(summary: dict[str, Any]) -> dict[str, Any]:
    """Of a summary: name, imbalance, rule, digest and counts of its training images."""
    config, counts = summary["config"], summary["class_counts"]
    name, profile = config["data.name"], config.get("data.profile") or "full"
    suffix = {"full": "", "single_majority": ", one majority class"}.get(profile, "-LT")
    chosen = f"NumPy seed {config['data.subset_seed']}, class by class"
    return {
        "name": NAMES.get(name, name) + (suffix if name in NAMES and name != "digits" else ""),
        "imbalance": round(max(counts) / min(counts), 2) if min(counts) else None,
        "subset": None if profile == "full" else chosen,
        "digest": summary.get("subset_digest"),
        "class_counts": counts,
    }


def augmentation(config: dict[str, Any]) -> str:
    """What a config does to its training images, such as "crop 4, flip, AutoAugment, Cutout 16"."""
    policy, streamed = config["augment.policy"], config["data.name"] not in NAMES
    mixtures = {value for name, value in config.items() if name.endswith("mixing.name")}
    parts = [
        "random resized crop" if streamed or config.get("augment.resized_crop") else "",
        f"crop {config['augment.padding']}" if config["augment.padding"] else "",
        "flip" if config["augment.flip"] else "",
        "jitter" if config.get("augment.jitter") else "",
        "" if policy == "none" else POLICIES.get(policy, f"AutoAugment ({policy})"),
        f"Cutout {config['augment.cutout']}" if config["augment.cutout"] else "",
        *(MIXTURES[name] for name in sorted(mixtures - {"none"})),
    ]
    return ", ".join(part for part in parts if part) or "none"


def portable(name: str, value: Any) -> Any:
    """A config field's value; of a folder that a run begins from, without those of one machine."""
    if name == "fork":
        return Path(value).name
    if name == "init_from" and value.startswith("/"):
        return "/".join(Path(value).parts[-2:])
    return value


def told(command: list[str] | None) -> str | None:
    """As typed, without the folders of one machine."""
    if command is None:
        return None
    shown = []
    for part in command:
        if part.startswith("--config.data.dir="):
            part = "--config.data.dir=DIR"
        flag, equals, value = part.partition("=")
        part = flag + equals + portable(flag.removeprefix("--config."), value)
        if part.startswith("--config=/"):
            part = "--config=configs/" + part.rsplit("/", 1)[1]
        if not part.startswith("--workdir"):
            shown.append(part)
    return "python " + shlex.join(shown)

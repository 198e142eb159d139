"""The tables of the pages, each a function of the records to Markdown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from measurements import (
    augmentation,
    evaluate_cpu,
    hessian_speed,
    input_pipeline,
    methods_cost,
    mutants,
    networks_cpu,
    startup,
    table,
    train_cpu,
    train_profile,
)
from records import pair

GROUPS = ("many", "medium", "few")


def digits(records: dict[str, Any]) -> str:
    one = records["quickstart"]
    each = [f"{100 * run['test_accuracy']:.1f}" for run in one["details"]["last_epoch_each"]]
    return table(
        ["seeds", "last epoch, %", "each", "many / medium / few", "best epoch, %"],
        [
            [
                str(one["runs"]),
                pair(one["accuracy"]),
                ", ".join(each),
                " / ".join(f"{one['groups'][name]['mean']:.1f}" for name in GROUPS),
                pair(one["best_epoch"]),
            ]
        ],
    )


def short_run(records: dict[str, Any]) -> str:
    sides = {"ltjax": records["short_run-ltjax"], "PyTorch": records["short_run-pytorch"]}
    runs = {
        f"{side}, seed {run['seed']}": run
        for side, record in sides.items()
        for run in record["details"]["runs"]
    }
    first = sides["ltjax"]
    classes = zip(first["details"]["class_names"], first["data"]["class_counts"], strict=True)
    rows = [
        [name, *(f"{100 * run[name]:.2f}" for run in runs.values())]
        for name in ("accuracy", *GROUPS)
    ]
    rows += [
        [f"{name} ({count})", *(f"{100 * run['per_class'][c]:.1f}" for run in runs.values())]
        for c, (name, count) in enumerate(classes)
    ]
    return table(["%", *runs], rows)


def _figures(
    records: dict[str, Any],
    names: dict[str, str],
    columns: dict[str, Callable[[dict[str, Any]], str]],
    first: str = "last epoch, %",
) -> str:
    """A row a figure: `names` are ids with their headings, `columns` headings with their texts."""
    return table(
        [first, *columns],
        [
            [heading, *(text(records[name]) for text in columns.values())]
            for name, heading in names.items()
        ],
    )


def _accuracy(one: dict[str, Any]) -> str:
    return pair(one["accuracy"])


def _group(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda one: pair(one["groups"][name]) if name in (one.get("groups") or {}) else ""


def _last(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda one: f"{100 * one['details']['last_epoch_each'][0][name]:.2f}"


def _stated(one: dict[str, Any]) -> str:
    groups = [one["groups"][name] for name in GROUPS] if one.get("groups") else []
    return " / ".join(f"{value['mean']:g}" for value in (one["accuracy"], *groups))


def system_a(records: dict[str, Any]) -> str:
    names = {
        "expert": "expert: LDAM, class-balanced sampler, DRW",
        "rotnet": "rotnet: 5 epochs of rotations, then class-balanced",
        "hybrid": "hybrid: mixup, LDAM with s = 10, plain sampling",
        "pro": "pro: class-balanced sampler, mixup, label smoothing",
    }
    return _figures(
        records,
        {f"system_a-{name}": text for name, text in names.items()},
        {
            "overall": _accuracy,
            "majority class": _group("many"),
            "other classes": _group("few"),
        },
    )


def system_b(records: dict[str, Any]) -> str:
    names = {
        "alpha_0.9": "alpha 0.9",
        "alpha_0.95": "alpha 0.95",
        "alpha_0.99": "alpha 0.99",
        "alpha_0.995": "alpha 0.995",
        "alpha_0.95_autoaugment": "alpha 0.95, AutoAugment",
        "alpha_0.95_autoaugment_smoothing": "alpha 0.95, AutoAugment, label smoothing",
    }
    groups = {name: _group(name) for name in GROUPS}
    ids = {f"system_b-{name}": text for name, text in names.items()}
    return _figures(records, ids, {"overall": _accuracy, **groups})


def system_c(records: dict[str, Any]) -> str:
    names = {
        "baseline": "baseline",
        "reweight": "reweight (class-balanced sampling)",
        "features": "the first stage alone",
        "decoupled_modified_cross_entropy": "decoupled, modified cross-entropy",
        "decoupled_balanced_softmax": "decoupled, balanced softmax",
        "decoupled_focal": "decoupled, focal",
        "decoupled_class_balanced": "decoupled, class-balanced",
        "decoupled_class_balanced_focal": "decoupled, class-balanced focal",
    }
    return _figures(
        records,
        {f"system_c-{name}": text for name, text in names.items()},
        {
            "accuracy": _accuracy,
            "precision": _last("weighted_precision"),
            "F1": _last("weighted_f1"),
            **{name: _group(name) for name in GROUPS},
        },
    )


SPECTRA = {
    "CE + DRW": "hessian-ce_drw",
    "CE + DRW + SAM, rho 0.1": "hessian-ce_drw_sam_rho_0.1",
    "CE + DRW + SAM, rho 0.5": "hessian-ce_drw_sam_rho_0.5",
}


def hessian_runs(records: dict[str, Any]) -> str:
    groups = {name: _group(name) for name in GROUPS}
    ids = {identifier: name for name, identifier in SPECTRA.items()}
    return _figures(records, ids, {"accuracy": _accuracy, **groups})


def hessian_spectra(records: dict[str, Any], record: str = "spectra") -> str:
    runs = records[record]["runs"]
    counts = next(iter(runs.values()))["class_counts"]
    rows = []
    for c, first in enumerate(next(iter(runs.values()))["rows"]):
        cells = [run["rows"][c] for run in runs.values()]
        rows.append(
            [
                f"{first['name']} ({counts[first['class']]})",
                *(
                    f"{cell['lambda_min']:.1f} / {cell['lambda_max']:.0f} = {cell['ratio']:.3f};"
                    f" trace {cell['trace']:.0f}; loss {cell['loss']:.2g}"
                    for cell in cells
                ),
            ]
        )
    return table(["class (images)", *(f"{name}: λ_min / λ_max" for name in runs)], rows)


def hessian_means(records: dict[str, Any]) -> str:
    def mean(rows: list[dict[str, Any]], key: str) -> float:
        return sum(row[key] for row in rows) / len(rows)

    groups = {"many": slice(0, 3), "medium": slice(3, 6), "few": slice(6, 10)}
    return table(
        ["λ_min / λ_max; mean of the ratios", *groups],
        [
            [
                name,
                *(
                    f"{mean(run['rows'][part], 'lambda_min'):.1f} /"
                    f" {mean(run['rows'][part], 'lambda_max'):.0f};"
                    f" {mean(run['rows'][part], 'ratio'):.3f}"
                    for part in groups.values()
                ),
            ]
            for name, run in records["spectra"]["runs"].items()
        ],
    )


def photographs(records: dict[str, Any]) -> str:
    groups = {name: _group(name) for name in GROUPS}
    return _figures(records, {"photographs": "LDAM + DRW + SAM"}, {"accuracy": _accuracy, **groups})


def precision(records: dict[str, Any]) -> str:
    def groups(one: dict[str, Any]) -> str:
        return " / ".join(f"{one['groups'][name]['mean']:.1f}" for name in GROUPS)

    names = {f"precision-{dtype}": dtype for dtype in ("float32", "bfloat16")}
    columns = {"accuracy, three seeds": _accuracy, "many / medium / few": groups}
    return _figures(records, names, columns)


def methods(records: dict[str, Any]) -> str:
    rows = []
    for name, one in records.items():
        if not name.startswith("methods-"):
            continue
        groups = " / ".join(f"{one['groups'][name]['mean']:.1f}" for name in GROUPS)
        each = one["details"].get("experts")
        told = ", ".join(f"{mean:.1f}" for mean in each) if each else ""
        rows.append([f"`{one['recipe']}`", pair(one["accuracy"]), groups, told])
    return table(["recipe", "last epoch, %", "many / medium / few", "each expert"], rows)


def own_data(records: dict[str, Any]) -> str:
    found = records["own_data-finetune"]["details"]
    rows = [
        [name, f"{value:.1f}", f"{found['few'][name]:.1f}"]
        for name, value in found["classifiers"].items()
    ]
    return table(["", "all", "few"], rows)


def _posthoc(source: str) -> Callable[[dict[str, Any]], str]:
    def setting(parameters: dict[str, Any], ties: int) -> str:
        parts = []
        if "tau" in parameters:
            parts.append(f"tau {parameters['tau']:g}" + (f" (of {ties} equal)" if ties > 1 else ""))
        if "learning_rate" in parameters:
            parts.append(f"rate {parameters['learning_rate']:g}")
        if "epochs" in parameters:
            parts.append(f"{parameters['epochs']} epochs")
        return ", ".join(parts)

    def build(records: dict[str, Any]) -> str:
        rows = []
        for name, one in records.items():
            if not name.startswith(f"posthoc_{source}-"):
                continue
            details = one["details"]
            chosen = details["chosen"]
            rows.append(
                [
                    one["method"],
                    setting(chosen["parameters"], details["ties"])
                    if details["candidates"] > 1
                    else "",
                    pair(one["accuracy"]),
                    " / ".join(f"{100 * chosen[group]:.1f}" for group in GROUPS),
                    f"{100 * details['default']['accuracy']:.2f}",
                    f"*{100 * details['oracle']['accuracy']:.2f}*",
                    f"{100 * chosen['ece']:.1f}, {100 * chosen['scaled']['ece']:.1f}",
                    f"{chosen['temperature']:.2f}",
                ]
            )
        head = ["classifier", "chosen", "accuracy", "many / medium / few", "default", "*oracle*"]
        return table([*head, "ECE, at T", "T"], rows)

    return build


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "digits": digits,
    "short_run": short_run,
    "system_a": system_a,
    "system_b": system_b,
    "system_c": system_c,
    "hessian_runs": hessian_runs,
    "hessian_spectra": hessian_spectra,
    "hessian_means": hessian_means,
    "full_spectra": partial(hessian_spectra, record="full_spectra"),
    "full_spectra_ldam": partial(hessian_spectra, record="full_spectra_ldam"),
    "hessian_speed": hessian_speed,
    "input_pipeline": input_pipeline,
    "photographs": photographs,
    "precision": precision,
    "augmentation": augmentation,
    "train_cpu": train_cpu,
    "networks_cpu": networks_cpu,
    "evaluate_cpu": evaluate_cpu,
    "methods_cost": methods_cost,
    "mutants": mutants,
    "train_profile": train_profile,
    "startup": startup,
    "methods": methods,
    "own_data": own_data,
    "posthoc_digits": _posthoc("digits"),
    "posthoc_ldam": _posthoc("ldam"),
    "posthoc_ldam_full": _posthoc("ldam_full"),
    "posthoc_ce": _posthoc("ce"),
    "posthoc_lite0": _posthoc("lite0"),
}

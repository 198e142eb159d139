"""The leaderboard's tables: a row a figure, ours and the sources' in the same columns."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from records import pair

Record = dict[str, Any]


def _data(name: str, imbalance: float | None = None) -> Callable[[Record], bool]:
    """Whole schedules on a data set, from scratch."""
    return lambda one: (
        one["status"] in ("measured", "published")
        and not one["network"].get("pretraining")
        and one["data"]["name"] == name
        and imbalance in (None, one["data"].get("imbalance"))
    )


SECTIONS: dict[str, Callable[[Record], bool]] = {
    "cifar10": _data("CIFAR-10-LT", 100),
    "cifar100": _data("CIFAR-100-LT", 100),
    "other_imbalances": lambda one: any(
        _data(name)(one) and one["data"]["imbalance"] != 100
        for name in ("CIFAR-10-LT", "CIFAR-100-LT")
    ),
    "imagenet": _data("ImageNet-LT"),
    "inaturalist": _data("iNaturalist 2018"),
    "digits": _data("digits"),
    "pretrained": lambda one: (
        one["status"] in ("measured", "published") and bool(one["network"].get("pretraining"))
    ),
    "after_training": lambda one: one["status"] == "classifier after training",
    "short": lambda one: one["status"] == "short run",
}
"""Name -> what stands in it.

Short runs, and classifiers after training, stand apart from all else.
"""
LAST, BEST = "last epoch", "best epoch on test images"
COLUMNS = (
    "method", "figure", "last epoch", "best epoch", "epoch not stated", "published", "source",
    "network", "parameters", "epochs", "augmentation", "many / medium / few", "data", "subset",
    "digest", "runs", "hours a run", "device", "revision", "command", "note",
)  # fmt: skip
NUMBERS = (
    "parameters",
    "epochs",
    "last epoch",
    "best epoch",
    "epoch not stated",
    "runs",
    "hours a run",
)
WIDE = ("method", "published", "network", "augmentation", "note", "device")


def rows(records: dict[str, Record], section: str) -> list[Record]:
    """Of a section: a method's figures together, ours first,
    then by the best figure of a method.
    """
    found = [one for one in records.values() if "status" in one and SECTIONS[section](one)]
    best: dict[str, float] = {}
    for one in found:
        best[method(one)] = max(best.get(method(one), 0), one["accuracy"]["mean"])
    return sorted(
        found,
        key=lambda one: (
            -best[method(one)],
            method(one),
            one["status"] == "published",
            -one["accuracy"]["mean"],
        ),
    )


def method(one: Record) -> str:
    """What two figures of one method have in common."""
    return one.get("recipe") or one["method"]


def published(one: Record, records: dict[str, Record]) -> list[Record]:
    """The sources' figures of the method and data of one of ours, of a whole schedule alone."""
    if one["status"] != "measured":
        return []
    return [
        other
        for other in records.values()
        if other.get("status") == "published"
        and other.get("recipe") == one["recipe"]
        and other["data"]["name"] == one["data"]["name"]
        and other["data"].get("imbalance") == one["data"].get("imbalance")
    ]


def status(one: Record, records: dict[str, Record]) -> str:
    """Published only: no figure of ours has its recipe and data."""
    if one["status"] != "published":
        return one["status"]
    ours = (other for other in records.values() if other.get("status") == "measured")
    measured = any(one in published(other, records) for other in ours)
    return "published" if measured else "published only"


def cells(one: Record, records: dict[str, Record]) -> dict[str, tuple[str, float | str | None]]:
    """Column -> HTML, and what it sorts by (None: its text)."""
    accuracy, data, network = one["accuracy"], one["data"], one["network"]
    chosen = one["selection"]
    last = accuracy if chosen in (LAST, "held-out training images") else None
    best = accuracy if chosen == BEST else one.get("best_epoch")
    unstated = accuracy if chosen == "not stated" else None
    groups = one.get("groups") or {}
    source = one.get("source")
    paper = ", ".join(escape(part) for part in (one.get("paper"), one.get("venue")) if part)
    return {
        "method": (_method(one, paper), one["method"]),
        "figure": (status(one, records), None),
        "source": (_source(source) if source else "ltjax", None),
        "network": (escape(", ".join(_network(network))), None),
        "parameters": _count(network.get("parameters")),
        "epochs": (
            escape(one.get("stages") or ("" if one.get("epochs") is None else str(one["epochs"]))),
            one.get("epochs") if one.get("epochs") is not None else -1,
        ),
        "augmentation": (escape(one.get("augmentation") or ""), None),
        "last epoch": _pair(last),
        "best epoch": _pair(best),
        "epoch not stated": _pair(unstated),
        "published": (", ".join(map(_stated, published(one, records))), None),
        "many / medium / few": (
            " / ".join(
                f"{groups[name]['mean']:.1f}" if name in groups else "-"
                for name in ("many", "medium", "few")
            )
            if groups
            else "",
            None,
        ),
        "data": (escape(_data_name(data)), None),
        "subset": (escape(data.get("subset") or ""), None),
        "digest": (_digest(data.get("digest")), None),
        "runs": (_runs(one), one.get("runs") or -1),
        "hours a run": (_hours(one), sum(one.get("hours", [-1])) / len(one.get("hours", [-1]))),
        "device": (escape(one.get("device", "")), None),
        "revision": (f"<code>{escape(one['revision'])}</code>" if "revision" in one else "", None),
        "command": (_command(one), None),
        "note": (escape(one.get("footnote", "")), None),
    }  # fmt: skip


def html(records: dict[str, Record], section: str) -> str:
    """A section's table, without the columns that none of its rows fills."""
    found = rows(records, section)
    if not found:
        return "<p>No figure yet.</p>"
    made = [cells(one, records) for one in found]
    columns = [name for name in COLUMNS if any(row[name][0] for row in made)]
    lines = ['<div class="leaderboard-frame"><table class="leaderboard">', "<thead><tr>"]
    lines += [f"<th{_attribute('class', _style(name))}>{name}</th>" for name in columns]
    lines += ["</tr></thead>", "<tbody>"]
    for one, row in zip(found, made, strict=True):
        kind = ' class="ours"' if one["status"] == "measured" else ""
        lines.append(f'<tr id="figure-{one["id"]}"{kind}>')
        for name in columns:
            text, order = row[name]
            kind = _attribute("class", _style(name))
            lines.append(f"<td{kind}{_attribute('data-order', order)}>{text}</td>")
        lines.append("</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def _style(name: str) -> str:
    return "number" if name in NUMBERS else "wide" if name in WIDE else ""


def _attribute(name: str, value: object) -> str:
    return "" if value in (None, "") else f' {name}="{escape(str(value))}"'


def _method(one: Record, paper: str) -> str:
    name, recipe = escape(one["method"]), one.get("recipe")
    anchor = f"recipe-{recipe}".replace("_", "-")  # as docutils writes it
    linked = f'<a href="generated/recipes.html#{anchor}">{name}</a>' if recipe else name
    return linked + (f" <small>{paper}</small>" if paper else "")


def _network(network: Record) -> list[str]:
    experts = network.get("experts")
    pretraining = network.get("pretraining")
    return [
        network["name"],
        *([f"{experts} experts"] if experts else []),
        *([f"from {pretraining}"] if pretraining else []),
    ]


def _count(value: int | None) -> tuple[str, int]:
    return ("", -1) if value is None else (f"{value / 1e6:.2f} M", value)


def _pair(value: dict[str, float | None] | None) -> tuple[str, float]:
    return ("", -1) if value is None else (pair(value), value["mean"] or 0)


def _source(source: Record) -> str:
    mark = escape(source["mark"])
    title = escape(source["text"])
    if source.get("link"):
        return f'<a href="{escape(source["link"])}" title="{title}">{mark}</a>'
    return f'<span title="{title}">{mark}</span>'


def _stated(one: Record) -> str:
    epoch = {LAST: "last epoch", BEST: "best epoch"}.get(one["selection"], one["selection"])
    return f"{pair(one['accuracy'])} ({_source(one['source'])}, {epoch})"


def _data_name(data: Record) -> str:
    imbalance = data.get("imbalance")
    return data["name"] + (f", imbalance {imbalance:g}" if imbalance else "")


def _runs(one: Record) -> str:
    seeds = one.get("seeds")
    if seeds:
        return f"{len(seeds)} (seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))})"
    return str(one.get("runs") or "")


def _digest(digest: str | None) -> str:
    return f'<code title="{digest}">{digest[:12]}</code>' if digest else ""


def _hours(one: Record) -> str:
    hours = one.get("hours")
    return f"{sum(hours) / len(hours):.2f}" if hours else ""


def _command(one: Record) -> str:
    command = one.get("command")
    if not command:
        return ""
    return f"<details><summary>show</summary><code>{escape(command)}</code></details>"


def add_script(app, pagename, templatename, context, doctree) -> None:
    """The table script, on the page that has such tables."""
    if doctree is None or 'class="leaderboard"' not in context.get("body", ""):
        return
    app.add_css_file("leaderboard.css")
    app.add_js_file("datatables/dataTables.min.js")
    app.add_js_file("leaderboard.js")

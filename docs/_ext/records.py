"""Numbers and tables of the pages, from the records under docs/results.

    {figure}`train_cpu/rows/ltjax/images_per_second:.0f`     a number in a sentence
    ```{measured} startup                                     a table, a function of tables.py
    ```{leaderboard} cifar10                                  a section of leaderboard.py

A figure is named by its id, a measurement by its file; what follows are keys, and numbers that
count the items of a list. Shares may be shown as per cent (`:.1%`, without the sign), and two
values may be joined by " - ", " + ", " / " or " * ". A name or key that is not there ends the
build.
"""

from __future__ import annotations

import json
import operator
import re
from pathlib import Path
from typing import Any

JOINED = {"-": operator.sub, "+": operator.add, "/": operator.truediv, "*": operator.mul}


def load(results: Path) -> dict[str, Any]:
    """Figures by id and measurements by their file's name.

    Raises:
      ValueError: two records of one name.
    """
    found: dict[str, Any] = {}
    for path in sorted(results.rglob("*.json")):
        if path.name == "schema.json":
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        named = content if isinstance(content, list) else [content | {"id": path.stem}]
        for record in named:
            if record["id"] in found:
                raise ValueError(f"{path}: a second record of the name {record['id']!r}")
            found[record["id"]] = record
    return found


def look_up(records: dict[str, Any], path: str) -> Any:
    """The value at NAME/KEY/KEY, or a number as written.

    Raises:
      ValueError: no such record or key; names those that there are.
    """
    if re.fullmatch(r"\d+(\.\d+)?(e\d+)?", path):
        return float(path)
    name, *keys = path.split("/")
    if name not in records:
        raise ValueError(f"no record {name!r}; expected one of {', '.join(sorted(records))}")
    value = records[name]
    for key in keys:
        try:
            value = value[int(key) if isinstance(value, list) else key]
        except (KeyError, IndexError, TypeError, ValueError):
            there = ", ".join(value) if isinstance(value, dict) else repr(value)[:80]
            raise ValueError(f"{path}: no {key!r}; there is {there}") from None
    return value


def shown(records: dict[str, Any], expression: str) -> str:
    """The text of a `figure` role.

    Raises:
      ValueError: as `look_up`, or a value that has no such format.
    """
    given, _, form = expression.partition(":")
    first, *rest = re.split(r" ([-+/*]) ", given)
    value = look_up(records, first)
    for sign, path in zip(rest[::2], rest[1::2], strict=True):
        value = JOINED[sign](_number(value), _number(look_up(records, path)))
    if isinstance(value, dict) and set(value) == {"mean", "std"}:
        return pair(value, form or ".2f")
    if isinstance(value, dict | list) or value is None:
        raise ValueError(f"{expression}: is {repr(value)[:80]}; expected a number or a text")
    return format(value, form).removesuffix("%")


def pair(value: dict[str, float | None], form: str = ".2f") -> str:
    """Such as 90.07 ± 3.23."""
    mean, std = value["mean"], value["std"]
    return format(mean, form) + ("" if std is None else f" ± {format(std, form)}")


def _number(value: Any) -> float:
    return value["mean"] if isinstance(value, dict) and "mean" in value else value


def setup(app):
    import leaderboard
    import tables
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective, SphinxRole

    app.add_config_value("records_folder", "results", "env")

    known: dict[Path, dict[str, Any]] = {}

    def records_of(environment) -> dict[str, Any]:
        folder = Path(environment.srcdir) / environment.config.records_folder
        for path in folder.rglob("*.json"):
            environment.note_dependency(str(path))
        if folder not in known:
            known[folder] = load(folder)
        return known[folder]

    class Figure(SphinxRole):
        def run(self):
            try:
                return [nodes.Text(shown(records_of(self.env), self.text))], []
            except ValueError as error:
                message = self.inliner.reporter.error(f"figure: {error}", line=self.lineno)
                return [], [message]

    class Measured(SphinxDirective):
        required_arguments = 1

        def run(self):
            (name,) = self.arguments
            if name not in tables.TABLES:
                raise self.error(f"no table {name!r}; expected one of {', '.join(tables.TABLES)}")
            return self.parse_text_to_nodes(tables.TABLES[name](records_of(self.env)))

    class Leaderboard(SphinxDirective):
        required_arguments = 1

        def run(self):
            (name,) = self.arguments
            if name not in leaderboard.SECTIONS:
                known = ", ".join(leaderboard.SECTIONS)
                raise self.error(f"no section {name!r}; expected one of {known}")
            html = leaderboard.html(records_of(self.env), name)
            return [nodes.raw("", html, format="html")]

    app.add_role("figure", Figure())
    app.add_directive("measured", Measured)
    app.add_directive("leaderboard", Leaderboard)
    app.connect("html-page-context", leaderboard.add_script)
    return {"parallel_read_safe": True, "version": "1"}

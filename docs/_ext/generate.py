"""The pages that the code writes itself: configuration, recipes, API. So they cannot drift."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

API = (
    "ltjax.losses",
    "ltjax.reweighting",
    "ltjax.imbalance",
    "ltjax.sampling",
    "ltjax.optim",
    "ltjax.metrics",
    "ltjax.augment",
    "ltjax.models",
    "ltjax.hessian",
    "ltjax.objectives",
    "ltjax.posthoc",
    "ltjax.loading",
    "ltjax.trained",
)


def write(root: Path) -> None:
    """docs/generated/*.md, each only where it changes, so that a second build is quick."""
    folder = root / "docs" / "generated"
    folder.mkdir(exist_ok=True)
    pages = {"configuration": configuration(root), "recipes": recipes(root), "api": api()}
    for name, text in pages.items():
        file = folder / f"{name}.md"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def fields(root: Path) -> dict[str, tuple[str, str]]:
    """Every field of configs/base.py -> its default as written, and its comment.

    Raises:
      ValueError: a field without a comment, its own or its section's.
    """
    source = (root / "configs" / "base.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    found: dict[str, tuple[str, str]] = {}
    body = next(
        node for node in ast.parse(source).body if getattr(node, "name", "") == "get_config"
    )
    for node in ast.walk(body):
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        target = ast.unparse(node.targets[0])
        path, value = target.removeprefix("config."), ast.unparse(node.value)
        if not target.startswith("config.") or path.startswith(("by_dataset", "published")):
            continue
        comment = _comment(lines, node)
        call = node.value if isinstance(node.value, ast.Call) else None
        if call and call.args and isinstance(call.args[0], ast.Dict):
            inner = call.args[0]
            for key, default in zip(inner.keys, inner.values, strict=True):
                found[f"{path}.{ast.literal_eval(key)}"] = (ast.unparse(default), comment)
        else:
            found[path] = (value, comment)
    return found


def _comment(lines: list[str], node: ast.stmt) -> str:
    """Behind the assignment, or in the lines above it."""
    assert node.end_lineno is not None
    behind = re.search(r"  # (.*)$", lines[node.end_lineno - 1])
    if behind:
        return behind[1]
    above: list[str] = []
    k = node.lineno - 2
    while k >= 0 and lines[k].strip().startswith("# "):
        above.insert(0, lines[k].strip()[2:])
        k -= 1
    return " ".join(above)


def configuration(root: Path) -> str:
    """A table a section of configs/base.py."""
    from configs import base

    text = [
        "# Configuration",
        "",
        "Every field, its default and what it means, from `configs/base.py`. Each is a flag:",
        "`--config.sam.rho=0.5`.",
        "",
        *inspect.cleandoc(base.__doc__ or "").splitlines()[2:],
    ]
    section = None
    for path, (default, comment) in fields(root).items():
        head = path.partition(".")[0] if "." in path or default == "ConfigDict()" else ""
        if head != section:
            section = head
            text += ["", f"## {head or 'The run'}", ""]
            if default == "ConfigDict()" and comment:
                text += [_sentence(comment), ""]
            text += ["| field | default | |", "| --- | --- | --- |"]
        if default == "ConfigDict()":
            continue
        default = "of the data set" if default.startswith("placeholder") else f"`{default}`"
        text.append(f"| `{path}` | {default} | {comment.replace('|', chr(92) + '|')} |")
    return "\n".join(text) + "\n"


def _sentence(comment: str) -> str:
    comment = comment.replace("(stage)", "A stage may state it:")
    return comment[0].upper() + comment[1:] + ("" if comment.endswith(".") else ".")


def recipes(root: Path) -> str:
    """A fold a recipe: its docstring, which has source, published figure and command."""
    text = [
        "# Recipes",
        "",
        "One short file of `configs/` each. What was measured: [results](../results/README.md).",
        "",
        "| recipe | | published, CIFAR-10-LT | CIFAR-100-LT |",
        "| --- | --- | --- | --- |",
    ]
    folds = []
    for file in sorted((root / "configs").glob("[a-z]*.py")):
        if file.stem == "base":
            continue
        module = importlib.import_module(f"configs.{file.stem}")
        told = inspect.cleandoc(module.__doc__ or "")
        title = " ".join(told.partition("\n\n")[0].split()).rstrip(".")
        published = module.get_config().published
        figures = [published.get(name, 0) or "" for name in ("cifar10", "cifar100")]
        text.append(
            f"| {{ref}}`{file.stem} <recipe-{file.stem}>` | {title} | {figures[0]} | {figures[1]} |"
        )
        folds += ["", f"(recipe-{file.stem})=", f"## {file.stem}", "", "```text", told, "```"]
    return "\n".join(text + folds) + "\n"


def api() -> str:
    """Every public name of the library's modules, by its docstring."""
    text = ["# API", "", "`import ltjax` stays light; import the part you need."]
    for name in API:
        module = importlib.import_module(name)
        text += ["", f"## {name}", "", "```{eval-rst}", f".. automodule:: {name}", "```", ""]
        for public in public_names(module):
            value = getattr(module, public)
            if inspect.isclass(value):
                kind = "autoclass"
            elif callable(value):
                kind = "autofunction"
            else:
                continue
            options = ["   :members:"] if kind == "autoclass" else []
            text += ["```{eval-rst}", f".. {kind}:: {name}.{public}", *options, "```", ""]
    return "\n".join(text) + "\n"


def public_names(module) -> list[str]:
    """`__all__`, or what the module defines itself."""
    if hasattr(module, "__all__"):
        names = module.__all__
        return [name for name in names if _is_ours(getattr(module, name))]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def _is_ours(value) -> bool:
    """A function or class of this library, not an alias of types."""
    return callable(value) and str(getattr(value, "__module__", "")).startswith("ltjax")

"""The pages that the code writes itself: configuration, recipes, API. So they cannot drift."""

from __future__ import annotations

import ast
import importlib
import inspect
import platform
import re
import tomllib
from importlib import metadata
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
    "ltjax.objectives.proco",
    "ltjax.posthoc",
    "ltjax.fitting",
    "ltjax.loading",
    "ltjax.trained",
    "ltjax.inspection.findings",
)


def write(root: Path) -> None:
    """docs/generated/*, each only where it changes, so that a second build is quick."""
    folder = root / "docs" / "generated"
    folder.mkdir(exist_ok=True)
    pages = {
        "configuration.md": configuration(root),
        "recipes.md": recipes(root),
        "api.md": api(),
        "versions.txt": versions(root),  # a part of install.md
    }
    for name, text in pages.items():
        file = folder / name
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
    """A fold a recipe: idea, paper, published figures, command, and the config itself."""
    text = [
        "# Methods gallery",
        "",
        "A recipe is one short file of `configs/`. What was measured:",
        "[results](../results/README.md).",
        "",
        "| recipe | | published, CIFAR-10-LT | CIFAR-100-LT |",
        "| --- | --- | --- | --- |",
    ]
    folds = []
    for file in sorted((root / "configs").glob("[a-z]*.py")):
        if file.stem == "base":
            continue
        module = importlib.import_module(f"configs.{file.stem}")
        parts = docstring_parts(module.__doc__ or "")
        title = parts.pop("")[0].rstrip(".")
        published = module.get_config().published
        figures = [published.get(name, 0) or "" for name in ("cifar10", "cifar100")]
        text.append(
            f"| {{ref}}`{file.stem} <recipe-{file.stem}>` | {markup(title)} |"
            f" {figures[0]} | {figures[1]} |"
        )
        folds += ["", f"(recipe-{file.stem})=", f"## {file.stem}", "", markup(title) + "."]
        for head, lines in parts.items():
            if head == "Run":
                folds += ["", "```text", *lines, "```"]
            else:
                folds += ["", f"**{head}:** {markup(' '.join(lines))}"]
        folds += ["", f":::{{dropdown}} configs/{file.stem}.py", f"```{{literalinclude}} {CONFIGS}"]
        folds[-1] += f"/{file.stem}.py"
        folds += [":language: python", ":start-at: from", "```", ":::"]
    return "\n".join(text + folds) + "\n"


CONFIGS = "../../configs"
_HEADS = re.compile(r"(?:^|(?<=[.)] ))(Source|Published|Ours|Run)\b([^:\n]*):", re.M)


def docstring_parts(docstring: str) -> dict[str, list[str]]:
    """Heading of a recipe's docstring -> its lines; "" is the title, on one line.

    Raises:
      ValueError: one of Source, Published and Run is missing.
    """
    told = inspect.cleandoc(docstring)
    title, _, rest = told.partition("\n\n")
    parts = {"": [" ".join(title.split())]}
    found = list(_HEADS.finditer(rest))
    ends = [*(match.start() for match in found[1:]), len(rest)]
    before = rest[: found[0].start()].strip() if found else rest.strip()
    if before:
        parts["Idea"] = before.split("\n")
    for match, end in zip(found, ends, strict=True):
        lines = rest[match.end() : end].strip().splitlines()
        parts[match[1] + match[2]] = [line.strip() for line in lines]
    missing = [head for head in ("Source", "Published", "Run") if not _has(parts, head)]
    if missing:
        raise ValueError(f"a recipe's docstring has no {missing[0]}: {parts[''][0]}")
    return parts


def _has(parts: dict[str, list[str]], head: str) -> bool:
    return any(name.startswith(head) for name in parts)


def markup(text: str) -> str:
    """A docstring's sentence as Markdown: nothing in it is markup but the papers' addresses."""
    text = re.sub(r"([\\*_<>\[\]$`|~{}])", r"\\\1", text)
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def versions(root: Path) -> str:
    """A table of what ltjax needs, from pyproject.toml, and what this site was built with."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        "| package | needed | this site was built with |",
        "| --- | --- | --- |",
        f"| Python | `{project['requires-python']}` | {platform.python_version()} |",
    ]
    for needed in sorted(project["dependencies"]):
        name, range_ = re.fullmatch(r"([\w-]+)(.*)", needed).groups()  # type: ignore[union-attr]
        lines.append(f"| {name} | `{range_}` | {metadata.version(name)} |")
    return "\n".join(lines) + "\n"


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


def without_example() -> list[str]:
    """Public functions and classes whose docstring has no example to run."""
    return [
        f"{name}.{public}"
        for name in API
        for module in [importlib.import_module(name)]
        for public in public_names(module)
        if callable(getattr(module, public))
        and ">>> " not in (getattr(module, public).__doc__ or "")
    ]


def _is_ours(value) -> bool:
    """A function or class of this library, not an alias of types."""
    return callable(value) and str(getattr(value, "__module__", "")).startswith("ltjax")

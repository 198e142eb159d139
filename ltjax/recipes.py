"""The recipes by name: configs/ of the checkout, or the copy that an installed ltjax carries."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from ltjax.names import nearest, unknown

_BASE = "base"


def folder() -> Path:
    """Where the recipes are."""
    here = Path(__file__).resolve().parent
    return next(path for path in (here.parent / "configs", here / "configs") if _holds(path))


def names() -> list[str]:
    """Of all recipes, sorted."""
    return sorted(path.stem for path in folder().glob("[a-z]*.py") if path.stem != _BASE)


def path_of(recipe: str) -> Path:
    """The config file of a recipe's name, or of a path.

    Raises:
      FileNotFoundError: no such file. ValueError: an unknown name.
    """
    path = Path(recipe).expanduser()
    if path.suffix == ".py" or len(path.parts) > 1:
        own = folder() / path.name
        if not path.is_file() and path.parts[:-1] == ("configs",) and own.is_file():
            return own  # configs/NAME.py outside the checkout
        if not path.is_file():
            beside = nearest(path.stem, (file.stem for file in path.parent.glob("*.py")))
            near = beside or nearest(path.stem, names())
            place = path.parent if beside else Path("configs")
            hint = f"; did you mean {place / near}.py?" if near else ""
            raise FileNotFoundError(f"{recipe}: no such config file{hint}")
        return path
    if recipe not in names():
        raise unknown("unknown recipe", recipe, names())
    return folder() / f"{recipe}.py"


def load(recipe: str | Path | ConfigDict) -> ConfigDict:
    """A recipe's config, not yet resolved.

    Args:
      recipe: a name ("ldam_drw_sam"), the path of a config file, or a config, which is copied.

    Raises:
      FileNotFoundError, ValueError: as `path_of`, or a file without get_config.
    """
    if isinstance(recipe, ConfigDict):
        return recipe.copy_and_resolve_references()
    module = module_of(path_of(str(recipe)))
    if not hasattr(module, "get_config"):
        raise ValueError(f"{recipe} has no get_config(); expected a config file")
    return module.get_config()


def headings(name: str) -> dict[str, str]:
    """What a recipe's docstring says: "what", its first sentence, and "source", "published" and
    "ours" as far as it states them.
    """
    text = ast.get_docstring(ast.parse(path_of(name).read_text(encoding="utf-8"))) or ""
    text = " ".join(text.split())
    parts = re.split(r"(?:^|(?<=[.\s]))(Source|Published|Ours|Time|Run)(?:[^:.]{0,30})?: ", text)
    said = {"what": parts[0].strip().rstrip(".")}
    for heading, value in zip(parts[1::2], parts[2::2], strict=True):
        said.setdefault(heading.lower(), value.strip().rstrip("."))
    return {key: said[key] for key in ("what", "source", "published", "ours") if key in said}


def table() -> str:
    """Every recipe with what it is, its source, the published and the measured figure."""
    return "\n\n".join(
        "\n".join(
            [
                name,
                *(
                    textwrap.fill(
                        value if key == "what" else f"{key}: {value}",
                        100,
                        initial_indent="    ",
                        subsequent_indent="      ",
                    )
                    for key, value in headings(name).items()
                ),
            ]
        )
        for name in names()
    )


def module_of(path: Path) -> ModuleType:
    """A config file as a module, in which `from configs import base` finds the recipes here."""
    with importable():
        spec = importlib.util.spec_from_file_location(f"ltjax_recipe_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@contextmanager
def importable() -> Iterator[None]:
    """`configs` is the recipes' package meanwhile, whatever other package has that name."""
    own = {name: module for name, module in sys.modules.items() if _is_configs(name)}
    if "configs" in own and _located(own["configs"]) == folder():
        yield
        return
    for name in own:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        "configs", folder() / "__init__.py", submodule_search_locations=[str(folder())]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["configs"] = module
    try:
        spec.loader.exec_module(module)
        yield
    finally:
        if own:
            for name in [name for name in sys.modules if _is_configs(name)]:
                del sys.modules[name]
            sys.modules.update(own)


def _holds(path: Path) -> bool:
    return (path / "ldam_drw_sam.py").is_file() and (path / "base.py").is_file()


def _is_configs(name: str) -> bool:
    return name == "configs" or name.startswith("configs.")


def _located(module: ModuleType) -> Path:
    return Path(next(iter(module.__path__), "")).resolve()

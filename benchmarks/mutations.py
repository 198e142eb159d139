"""Every small mistake that could have been made in a module: what benchmarks/mutants.py tries.

`+` for `-`, `<` for `<=`, a constant, a default, a keyword left out, a cast, a check or a private
helper skipped, `sum` for `mean`, a statement left out.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

_SWAPPED: dict[type, list[type]] = {
    **{ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult]},
    **{ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd]},
    **{ast.Lt: [ast.LtE], ast.LtE: [ast.Lt], ast.Gt: [ast.GtE], ast.GtE: [ast.Gt]},
    **{ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is]},
    **{ast.And: [ast.Or], ast.Or: [ast.And]},
}
_PAIRS = [
    *(("maximum", "minimum"), ("max", "min"), ("argmax", "argmin"), ("sum", "mean")),
    *(("ceil", "floor"), ("zeros_like", "ones_like"), ("any", "all"), ("sorted", "list")),
]
_NAMES = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
_SKIPPED_CALLS = {
    *("astype", "abs", "square", "sqrt", "exp", "log", "maximum", "minimum", "clip"),
    *("stop_gradient", "nan_to_num", "flip", "sorted", "mean"),
}
_PASSED_OVER = (ast.JoinedStr, ast.Import, ast.ImportFrom, ast.arg)


class Mutant(NamedTuple):
    """One change: the innermost function it is in ("" for the module), its place, its text."""

    function: str
    line: int
    column: int
    before: str
    after: str
    source: str


class _Change(NamedTuple):
    function: str
    parent: ast.AST
    field: str
    index: int | None
    old: Any
    new: Any


def mutants(source: str, seed: int = 0) -> list[Mutant]:
    """All mutants of a module's source, in a seeded order."""
    tree = ast.parse(source)
    made = []
    for change in _changes(tree, ""):
        before = _text(change, change.old)
        _put(change, change.new)
        after, whole = _text(change, change.new), ast.unparse(tree)
        _put(change, change.old)
        at = change.old if hasattr(change.old, "lineno") else change.parent
        line, column = getattr(at, "lineno", 0), getattr(at, "col_offset", 0)
        made.append(Mutant(change.function, line, column, before, after, whole))
    random.Random(seed).shuffle(made)
    return made


def _text(change: _Change, value: ast.AST) -> str:
    operator = isinstance(value, ast.operator | ast.cmpop | ast.boolop)
    return " ".join(ast.unparse(change.parent if operator else value).split())[:100]


def _put(change: _Change, value: Any) -> None:
    if change.index is None:
        setattr(change.parent, change.field, value)
    else:
        getattr(change.parent, change.field)[change.index] = value


def _changes(node: ast.AST, function: str) -> Iterator[_Change]:
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if not isinstance(child, ast.AST) or isinstance(child, _PASSED_OVER):
                continue
            if isinstance(child, ast.AnnAssign | ast.Assign) and not function:
                continue  # __all__, the dicts of names
            inner = function
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inner = f"{function}.{child.name}" if function else child.name
            for new in _alternatives(child):
                yield _Change(function, node, field, index, child, new)
            if isinstance(child, ast.Raise) or _is_text(child):
                continue
            yield from _changes(child, inner)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _alternatives(node: ast.AST) -> Iterator[Any]:
    for swapped in _SWAPPED.get(type(node), []):
        yield swapped()
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.UAdd):
        yield node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        value = node.value
        yield ast.Constant(
            not value
            if isinstance(value, bool)
            else value + 1
            if isinstance(value, int)
            else 2 * value
            if value
            else 1.0
        )
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        negated = ast.UnaryOp(ast.Not(), node.test)
        yield type(node)(**{**dict(ast.iter_fields(node)), "test": negated, "lineno": node.lineno})
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        fields = dict(ast.iter_fields(node))
        if name in _NAMES:
            func = ast.Name(_NAMES[name], ast.Load())
            if isinstance(node.func, ast.Attribute):
                func = ast.Attribute(node.func.value, _NAMES[name], ast.Load())
            yield ast.Call(**{**fields, "func": func})
        if name in _SKIPPED_CALLS or (name.startswith("_") and node.args):
            module = (
                isinstance(node.func, ast.Name)
                or (
                    isinstance(node.func.value, ast.Name)
                    and node.func.value.id in ("jnp", "np", "math")
                )
                or name == "stop_gradient"
            )
            if not module:
                yield node.func.value
            elif node.args:
                yield node.args[0]
        for at in range(len(node.keywords)):
            kept = [keyword for k, keyword in enumerate(node.keywords) if k != at]
            yield ast.Call(**{**fields, "keywords": kept})
    if isinstance(node, ast.Raise | ast.AugAssign) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield ast.Pass()
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        used = {each.id for each in ast.walk(node.value) if isinstance(each, ast.Name)}
        if node.targets[0].id in used:
            yield ast.Pass()


def noting(source: str, module: str) -> str:
    """The module with functions that say when they are called: in a set `__noted__`, as
    module:function.
    """

    def walk(node: ast.AST, inside: str) -> None:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.ClassDef)
            name = f"{inside}.{child.name}" if named and inside else child.name if named else inside
            walk(child, name)
            if isinstance(child, ast.FunctionDef):
                first = int(_is_text(child.body[0]))
                child.body.insert(
                    first, ast.parse(f"__noted__.add({f'{module}:{name}'!r})").body[0]
                )

    tree = ast.parse(source)
    walk(tree, "")
    return ast.unparse(ast.fix_missing_locations(tree))

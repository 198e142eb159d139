"""Would the tests notice a small mistake? Each mutant of a module is run against its tests.

    python benchmarks/mutants.py --folder /somewhere --sample 20 --out docs/results/mutants.json

A mutant is the module with one change (`+` for `-`, `<` for `<=`, a constant, a default, a keyword
left out, a cast, a check or a private helper skipped, `sum` for `mean`, a statement left out). It is
killed if a test fails or can't be collected; one whose tests do not end in time is counted apart. Of a module's test files those
tests are run that call the changed function, the quickest first; a first run of the files, without
a change, finds out which those are. Everything happens in copies of the tree. Every verdict is
noted in the folder, and the same command goes on where it stopped.

Why not mutmut or cosmic-ray: mutmut 3 forks from the process that ran the tests, and a process that
has used JAX can't be forked (its threads' locks stay held); cosmic-ray starts a Python for each
mutant, which imports JAX and compiles every program anew, and runs all of a test command's tests.
Here a process that has imported JAX and not used it is forked, and compiled programs are kept.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_LOSSES = ["tests/test_losses.py", "parity_tests/test_losses.py"]
_OPTIM = ["tests/test_optim.py", "parity_tests/test_sam.py", "parity_tests/test_schedules.py"]
_HESSIAN = ["tests/test_hessian.py"]
_AUGMENT = ["tests/test_augment.py", "parity_tests/test_augment.py"]
TARGETS = {
    "ltjax/losses/inputs.py": [*_LOSSES, "parity_tests/test_counts_and_weights.py"],
    "ltjax/losses/per_example.py": [*_LOSSES, "parity_tests/test_counts_and_weights.py"],
    "ltjax/reweighting.py": [
        "tests/test_reweighting.py",
        "parity_tests/test_counts_and_weights.py",
    ],
    "ltjax/imbalance.py": ["tests/test_imbalance.py", "parity_tests/test_counts_and_weights.py"],
    "ltjax/sampling.py": ["tests/test_sampling.py", "parity_tests/test_sampling.py"],
    "ltjax/metrics.py": ["tests/test_metrics.py"],
    "ltjax/optim/sam.py": _OPTIM,
    "ltjax/optim/schedules.py": _OPTIM,
    "ltjax/optim/optimizers.py": _OPTIM,
    "ltjax/hessian/lanczos.py": _HESSIAN,
    "ltjax/hessian/spectrum.py": _HESSIAN,
    "ltjax/hessian/operator.py": [*_HESSIAN, "parity_tests/test_hessian.py"],
    "ltjax/augment/basic.py": _AUGMENT,
    "ltjax/augment/mixing.py": _AUGMENT,
}
"""Module -> the test files that are there for it: tests/ in float32, parity_tests/ in float64."""

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
    """One change: the innermost function it is in ("" for the module), its line, its text."""

    function: str
    line: int
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


def mutants(source: str, count: int, seed: int = 0) -> tuple[list[Mutant], int]:
    """A seeded choice of `count` mutants of a module's source (0: all), and how many there are."""
    tree = ast.parse(source)
    changes = list(_changes(tree, ""))
    chosen = changes if not count else random.Random(seed).sample(changes, min(count, len(changes)))
    made = []
    for change in chosen:
        before = _text(change, change.old)
        _put(change, change.new)
        after, whole = _text(change, change.new), ast.unparse(tree)
        _put(change, change.old)
        line = getattr(change.old, "lineno", getattr(change.parent, "lineno", 0))
        made.append(Mutant(change.function, line, before, after, whole))
    return made, len(changes)


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


class _Calls:
    """A pytest plugin: which functions of a file each test calls, and how long it takes."""

    def __init__(self, file: Path) -> None:
        self.file, self.tests = str(file), {}

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> None:
        called, began = set(), time.monotonic()
        self.tests[item.nodeid] = record = [0.0, called]

        def note(frame, event, argument):
            if event == "call" and frame.f_code.co_filename == self.file:
                called.add(_plain(frame.f_code.co_qualname))
            record[0] = time.monotonic() - began

        sys.setprofile(note)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        sys.setprofile(None)


def _plain(qualname: str) -> str:
    """a.<locals>.b.<locals>.<lambda> -> a.b."""
    parts = [part for part in qualname.split(".") if not part.startswith("<")]
    return ".".join(parts)


def _child(tree: Path, arguments: list[str], plugin: Any = None, result: Path | None = None) -> int:
    """Forks a pytest in a copy of the tree; the id of the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of forks; here it has not been used yet
        pid = os.fork()
    if pid:
        return pid
    code = 3
    try:
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        quiet = os.open(os.devnull if result is None else f"{result}.log", os.O_WRONLY | os.O_CREAT)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        import pytest

        plugins = [] if plugin is None else [plugin]
        code = int(pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins))
        if plugin is not None and result is not None and not code:
            tests = {name: [took, sorted(calls)] for name, (took, calls) in plugin.tests.items()}
            result.write_text(json.dumps(tests), encoding="utf-8")
    finally:
        os._exit(code)


def _copy(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns(".git", "__pycache__", "results", ".*_cache")
    shutil.copytree(ROOT, folder, ignore=ignored)
    return folder


def _calls(module: str, folder: Path) -> dict[str, tuple[float, list[str]]]:
    """Of each test of the module: seconds, and the functions it calls."""
    result = folder / f"{module.replace('/', '_')}.calls.json"
    if not result.exists():
        tree = _copy(folder / "baseline")
        pid = _child(tree, ["-x", *TARGETS[module]], _Calls(tree / module), result)
        if os.waitpid(pid, 0)[1] or not result.exists():
            raise SystemExit(f"{module}: its tests fail without a change; see {result}.log")
    return json.loads(result.read_text(encoding="utf-8"))


def _tests(calls: dict[str, tuple[float, list[str]]], function: str) -> list[str]:
    """The tests that call a function, the quickest first; all for what no test calls by itself."""
    by_time = sorted(calls, key=lambda name: calls[name][0])
    chosen = [name for name in by_time if function in calls[name][1]]
    return chosen if chosen or function else by_time


def judge(module: str, folder: Path, jobs: int, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """A verdict for each mutant: killed or not, None where the time did not suffice."""
    calls = _calls(module, folder)
    waiting, total = mutants((ROOT / module).read_text(encoding="utf-8"), count, seed)
    noted = folder / f"{module.replace('/', '_')}.jsonl"
    before = (
        [json.loads(line) for line in noted.read_text(encoding="utf-8").splitlines()]
        if noted.exists()
        else []
    )
    done = {(row["line"], row["before"], row["after"]): row for row in before}
    free = [_copy(folder / f"tree{k}") for k in range(jobs)]
    running: dict[int, tuple] = {}
    waiting.reverse()
    while waiting or running:
        while free and waiting:
            mutant = waiting.pop()
            row = {"function": mutant.function, "line": mutant.line}
            row |= {"before": mutant.before, "after": mutant.after, "of": total}
            key = (mutant.line, mutant.before, mutant.after)
            tests = _tests(calls, mutant.function)
            if key in done or not tests:
                yield done.get(key, row | {"killed": False, "why": "no test calls it"})
                continue
            tree = free.pop()
            (tree / module).write_text(mutant.source, encoding="utf-8")
            limit = 300 + 20 * sum(calls[name][0] for name in tests)
            pid = _child(tree, ["-x", *tests])
            running[pid] = (row, tree, time.monotonic(), limit)
        time.sleep(0.1)
        for pid, (row, tree, began, limit) in list(running.items()):
            late = time.monotonic() - began > limit
            if late:
                os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, 0 if late else os.WNOHANG)
            if not ended:
                continue
            del running[pid]
            shutil.copy(ROOT / module, tree / module)
            free.append(tree)
            row |= {"killed": None if late else status != 0}
            row["seconds"] = round(time.monotonic() - began, 1)
            with noted.open("a") as file:
                file.write(json.dumps(row) + "\n")
            yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="for copies and verdicts")
    parser.add_argument("--out", type=Path, help="the record, a JSON file")
    parser.add_argument("--modules", nargs="*", default=list(TARGETS), help="some of them")
    parser.add_argument("--sample", type=int, default=0, help="mutants a module; 0 is all")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_PLATFORMS": "cpu",
    }
    sys.dont_write_bytecode = True
    import flax.linen
    import optax
    import pytest
    import sklearn.metrics
    import torch

    del flax, optax, pytest, sklearn, torch  # imported for the children, none of them used here
    record: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "revision": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip(),
        "seed": options.seed,
        "modules": {},
    }
    for module in options.modules:
        rows = []
        for row in judge(module, folder, options.jobs, options.sample, options.seed):
            rows.append(row)
            if row["killed"] is False:
                print(f"{module}:{row['line']} survived: {row['before']}  ->  {row['after']}")
        survivors = [row for row in rows if row["killed"] is False]
        killed = sum(row["killed"] is True for row in rows)
        of = rows[0]["of"] if rows else 0
        print(
            f"{module}: {killed} of {killed + len(survivors)} killed ({of} mutants in all)",
            flush=True,
        )
        keys = ("function", "line", "before", "after", "why")
        record["modules"][module] = {
            "mutants": of,
            "judged": killed + len(survivors),
            "out_of_time": len(rows) - killed - len(survivors),
            "killed": killed,
            "survivors": [{key: row[key] for key in keys if key in row} for row in survivors],
        }
        if options.out:
            options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Would the tests notice a small mistake? Each mutant of a module is run against its tests.

    python benchmarks/mutants.py --folder /somewhere --minutes 30 --out docs/results/mutants.json

A mutant is a module with one change (see mutations.py). It is killed if a test fails or can't be
collected; one whose tests take many times their usual processor time is counted apart. Of a
module's test files those tests are run that call the changed function, the quickest first, up to
the first failure, and then those that call others of the module; one run of each file, with
functions that note their calls, finds out which those are. Everything happens in a copy of the
tree. Mutants are tried in a seeded order in which every beginning holds the same share of each
module, so that a run that is stopped leaves a stratified sample. Verdicts are noted in the folder,
and the same command goes on where it stopped. With --again the survivors that have no reason
("why") in the record are judged anew.

Why not mutmut or cosmic-ray: mutmut 3 forks from the process that ran the tests, and a process that
has used JAX can't be forked (its threads' locks stay held); cosmic-ray starts a Python for each
mutant, which imports JAX and compiles every program anew, and runs all of a test command's tests.
Here a process that has imported JAX and not used it is forked, and compiled programs are kept.
"""

from __future__ import annotations

import argparse
import builtins
import compileall
import datetime
import hashlib
import importlib
import json
import math
import os
import platform
import py_compile
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from mutations import Mutant, mutants, noting

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "docs/results/mutants.json"
TESTS = {
    "losses": ["losses", "method_losses", "mislas", "counts_and_weights", "properties", "lists"],
    "counts": ["counts_and_weights", "reweighting", "losses", "method_losses", "lists"],
    "reweighting": ["reweighting", "counts_and_weights", "properties", "lists"],
    "imbalance": ["imbalance", "counts_and_weights", "lists"],
    "sampling": ["sampling", "properties", "lists"],
    "metrics": ["metrics", "properties", "trained", "lists"],
    "optim": ["optim", "sam", "schedules"],
    "hessian": ["hessian", "operator", "properties"],
    "augment": ["augment", "operations", "strong_views", "photographs"],
    "objectives": ["objectives", "proco", "method_losses"],
    "posthoc": ["posthoc", "properties", "lists"],
}
"""Module or package -> its tests, tests/test_NAME.py in float32, parity_tests/ in float64."""
OF_EVERY_MODULE = "tests/test_signatures.py"
"""It calls nothing, and sees a changed default."""
RECORDED = "tests/test_values.py"
"""It calls nearly all, and compares with what was recorded."""
WITHIN_A_FILE = {
    "tests/test_trained.py": "auroc",
    "parity_tests/test_photographs.py": "color_jitter",
    "tests/test_photographs.py": "color_jitter",
}
"""Of files that are mainly there for something else: the tests that are taken, as pytest's -k."""


def targets() -> dict[str, str]:
    """File -> its key in TESTS; files with something to change."""
    found = {}
    for name in TESTS:
        folder = ROOT / "ltjax" / name
        files = sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
        found |= {str(file.relative_to(ROOT)): name for file in files}
    return found


def test_files(name: str) -> list[str]:
    """Of a key of TESTS."""
    files = [f"{room}/test_{test}.py" for test in TESTS[name] for room in ("tests", "parity_tests")]
    return [OF_EVERY_MODULE, RECORDED, *(file for file in files if (ROOT / file).exists())]


class _Calls:
    """A pytest plugin: the functions that each test calls, and its processor time."""

    def __init__(self) -> None:
        self.tests: dict[str, list] = {}
        builtins.__noted__ = set()  # for what is called at import

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> None:
        builtins.__noted__ = called = set()
        self.tests[item.nodeid] = [time.process_time(), called]

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.tests[nodeid][0] = time.process_time() - self.tests[nodeid][0]


def _child(
    tree: Path, arguments: list[str], seconds: int, log: Path, plugin: _Calls | None = None
) -> tuple[int, float]:
    """Pytest in a copy of the tree, as a fork with a limit of processor time: status, seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of forks; here it has not been used yet
        pid = os.fork()
    if pid:
        _, status, used = os.wait4(pid, 0)
        return status, used.ru_utime + used.ru_stime
    code = 3
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        signal.alarm(20 * seconds)  # one that waits for ever
        os.chdir(tree)
        sys.path[0] = str(tree)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        import pytest

        plugins = [] if plugin is None else [plugin]
        code = int(pytest.main(["-q", "-p", "no:cacheprovider", "-n0", *arguments], plugins))
        if plugin is not None and not code:
            tests = {name: [took, sorted(called)] for name, (took, called) in plugin.tests.items()}
            log.with_suffix(".json").write_text(json.dumps(tests), encoding="utf-8")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Judge:
    """Runs mutants against their tests; what it finds out it notes in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tree, self.noting = folder, folder / "tree", folder / "noting"
        for tree in (self.tree, self.noting):
            shutil.rmtree(tree, ignore_errors=True)
            ignored = shutil.ignore_patterns(".git", "__pycache__", "results", ".*_cache", "_build")
            shutil.copytree(ROOT, tree, ignore=ignored)
        for module in targets():
            text = noting((ROOT / module).read_text(encoding="utf-8"), module)
            (self.noting / module).write_text(text, encoding="utf-8")
        # Checked by the text and not by the time: a mutant may be as long as the original.
        mode = py_compile.PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(self.tree / "ltjax", quiet=2, invalidation_mode=mode)
        self._calls: dict[str, dict[str, Any]] = {}

    def calls(self, file: str) -> dict[str, Any]:
        """Of each test of a file: processor seconds, and the functions it calls."""
        if file not in self._calls:
            digest = hashlib.sha1((ROOT / file).read_bytes()).hexdigest()[:8]
            log = self.folder / f"{file.replace('/', '_')}.{digest}.log"
            if not log.with_suffix(".json").exists():
                chosen = ["-k", WITHIN_A_FILE[file]] if file in WITHIN_A_FILE else []
                status, _ = _child(self.noting, [file, *chosen], 900, log, _Calls())
                if os.waitstatus_to_exitcode(status) not in (0, 5):  # 5: none was chosen
                    raise SystemExit(f"{file} fails without a change; see {log}")
            noted = log.with_suffix(".json")
            self._calls[file] = (
                json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else {}
            )
        return self._calls[file]

    def tests(self, module: str, name: str, function: str) -> list[list[str]]:
        """Those that call the function, then those that call others of its module (which may run
        what an earlier test has traced); the quickest first.
        """
        those, others = {}, {}
        for file in test_files(name):
            for test, (seconds, called) in self.calls(file).items():
                if f"{module}:{function}" in called:
                    those[test] = seconds
                elif file == OF_EVERY_MODULE or any(one.startswith(f"{module}:") for one in called):
                    others[test] = seconds
        return [sorted(found, key=found.__getitem__) for found in (those, others)]

    def verdict(self, module: str, name: str, mutant: Mutant) -> dict[str, Any]:
        row: dict[str, Any] = {"function": mutant.function, "line": mutant.line}
        row |= {"column": mutant.column, "before": mutant.before, "after": mutant.after}
        took = {test: one[0] for file in test_files(name) for test, one in self.calls(file).items()}
        (self.tree / module).write_text(mutant.source, encoding="utf-8")
        row |= {"killed": False, "seconds": 0.0}
        for tests in filter(None, self.tests(module, name, mutant.function)):
            limit = 30 + int(5 * sum(took[test] for test in tests))
            status, seconds = _child(self.tree, ["-x", *tests], limit, self.folder / "last.log")
            row["seconds"] = round(row["seconds"] + seconds, 1)
            late = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (
                signal.SIGXCPU,
                signal.SIGALRM,
            )
            row["killed"] = None if late else status != 0
            if row["killed"] is not False:
                break
        shutil.copy(ROOT / module, self.tree / module)
        return row


def interval(killed: int, judged: int) -> list[float]:
    """Wilson's of 95 %, as shares."""
    z, n = 1.96, max(judged, 1)
    share = killed / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return [round(middle - half, 3), round(middle + half, 3)]


def summary(rows: list[dict[str, Any]], total: int, reasons: dict[tuple, str]) -> dict[str, Any]:
    """Of a module: counts, and the survivors with what was said of them before."""
    keys = ("function", "line", "before", "after", "why", "now")
    survivors = [{k: row[k] for k in keys if k in row} for row in rows if row["killed"] is False]
    for row in survivors:
        if reason := reasons.get((row["function"], row["before"], row["after"])):
            row["why"] = reason
    killed = sum(row["killed"] is True for row in rows)
    judged = killed + len(survivors)
    found = {"mutants": total, "judged": judged, "out_of_time": len(rows) - judged}
    return found | {"killed": killed, "interval": interval(killed, judged), "survivors": survivors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="for the copy and verdicts")
    parser.add_argument("--out", type=Path, default=RECORD, help="the record, a JSON file")
    parser.add_argument("--names", nargs="*", default=list(TESTS), help="modules or packages")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no new mutant after these")
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    parser.add_argument("--again", action="store_true", help="survivors without a reason")
    options = parser.parse_args()
    began, folder = time.monotonic(), options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    _prepare(folder)
    every = targets()
    modules = {
        module: mutants((ROOT / module).read_text(encoding="utf-8"), options.seed)
        for module, name in every.items()
        if name in options.names
    }
    # Every beginning of this order holds the same share of each module.
    order = sorted(
        ((k + 0.5) / len(found), module, k)
        for module, found in modules.items()
        for k in range(len(found))
    )
    notes = folder / "verdicts.jsonl"
    done = _noted(notes)
    record = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    old = {
        module: {
            (row["function"], row["before"], row["after"]): row["why"]
            for row in found["survivors"]
            if "why" in row
        }
        for module, found in record.get("modules", {}).items()
    }
    judge = Judge(folder)
    for _, module, k in order:
        if time.monotonic() - began > 60 * options.minutes:
            break
        mutant = modules[module][k]
        row = done.get(_key(module, mutant))
        if row is None and not options.again:
            row = {"module": module, **judge.verdict(module, every[module], mutant)}
        elif options.again and row and row["killed"] is False and row.get("now") != "killed":
            if (mutant.function, mutant.before, mutant.after) in old.get(module, {}):
                continue
            now = judge.verdict(module, every[module], mutant)["killed"]
            row |= {"now": "survives" if now is False else "killed"}
        else:
            continue
        done[_key(module, mutant)] = row
        with notes.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if False in (row["killed"], row.get("now")):
            state = row.get("now", "survives")
            print(
                f"{module}:{row['line']} {state}: {row['before']}  ->  {row['after']}", flush=True
            )
    found = {
        module: summary(
            [done[_key(module, one)] for one in given if _key(module, one) in done],
            len(given),
            old.get(module, {}),
        )
        for module, given in modules.items()
        if given
    }
    killed, judged = (sum(one[key] for one in found.values()) for key in ("killed", "judged"))
    total = sum(one["mutants"] for one in found.values())
    print(f"{killed} of {judged} killed, {interval(killed, judged)}, of {total} in all")
    git = ["git", "rev-parse", "--short", "HEAD"]
    revision = subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    whole = {
        "what": "How many small mistakes, made on purpose, the tests notice",
        "device": f"{platform.machine()} CPU, {os.cpu_count()} cores",
        "revision": revision,
        "time": datetime.date.today().isoformat(),
    }
    whole |= {"seed": options.seed, "mutants": total, "judged": judged, "killed": killed}
    whole |= {"interval": interval(killed, judged), "modules": found}
    options.out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _prepare(folder: Path) -> None:
    """What the children share: compiled programs, and what they would import."""
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_PLATFORMS": "cpu",
    }
    sys.dont_write_bytecode = True
    for name in ("flax.linen", "optax", "pytest", "sklearn.metrics", "torch", "ml_collections"):
        importlib.import_module(name)
    for name in ("scipy.sparse.linalg", "orbax.checkpoint"):
        importlib.import_module(name)


def _key(module: str, row: Any) -> tuple:
    keys = ("function", "line", "column", "before", "after")
    row = row._asdict() if isinstance(row, Mutant) else row
    return module, *(row[key] for key in keys)


def _noted(notes: Path) -> dict[tuple, dict[str, Any]]:
    """The last verdict of each mutant."""
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    return {_key(row["module"], row): row for row in map(json.loads, lines)}


if __name__ == "__main__":
    main()

"""Text files are UTF-8 by name, whatever the locale; names of people's classes are not ASCII."""

import ast

from tests.conftest import ROOT

FOLDERS = ("ltjax", "configs", "benchmarks", ".ci", "docs")
FILES = [ROOT / "launch.py", *(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))]


def unnamed(tree):
    """Lines of calls that read or write text in the locale's encoding."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or any(
            keyword.arg == "encoding" for keyword in call.keywords
        ):
            continue
        method = getattr(call.func, "attr", "")
        mode = call.args[1] if len(call.args) > 1 else None
        opens = getattr(call.func, "id", "") == "open" and not (
            isinstance(mode, ast.Constant) and "b" in str(mode.value)
        )
        if opens or method in ("read_text", "write_text"):
            yield call.lineno


def test_the_check_itself_finds_what_it_should():
    text = "open(p)\nopen(p, 'w')\np.read_text()\nopen(p, 'rb')\np.write_text(x, encoding='utf-8')"
    assert list(unnamed(ast.parse(text))) == [1, 2, 3]


def test_every_text_file_is_opened_as_utf8():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in FILES
        for line in unnamed(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_a_terminal_without_utf8_gets_a_report_all_the_same(launch, tmp_path):
    from tests.test_report import write_run

    runs = [write_run(tmp_path / f"s{seed}", seed, name="カテゴリ") for seed in (0, 1)]
    flags = ("--mode=report", f"--workdir={runs[0]},{runs[1]}", f"--output={tmp_path / 'out'}")
    done = launch(*flags, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert "50.00" in done.stdout
    assert "カテゴリ" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")

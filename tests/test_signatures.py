"""The public functions' arguments and their defaults are what signatures.json says: who leaves an
option out gets the same in the next release.

    python -m tests.test_signatures

records them anew; a changed default belongs into CHANGELOG.md.
"""

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

RECORD = Path(__file__).with_name("signatures.json")
MODULES = (
    *("augment", "hessian", "imbalance", "losses", "metrics", "models", "objectives"),
    *("optim", "posthoc", "reweighting", "sampling"),
)


def signatures(name):
    """Public function or class of a module -> its arguments with their defaults."""
    module = importlib.import_module(f"ltjax.{name}")
    found = {}
    for attribute in sorted(getattr(module, "__all__", vars(module))):
        value = getattr(module, attribute)
        own = getattr(value, "__module__", "").startswith(f"ltjax.{name}")
        if attribute.startswith("_") or not callable(value) or not own:
            continue
        parameters = [
            parameter.replace(annotation=parameter.empty)
            for parameter in inspect.signature(value).parameters.values()
            if parameter.name not in ("self", "parent")  # the latter is Flax's own
        ]
        texts = [re.sub(r"<function (\S+) at 0x\w+>", r"\1", str(one)) for one in parameters]
        found[attribute] = texts
    return found


@pytest.mark.parametrize("name", MODULES)
def test_arguments_and_defaults_are_the_recorded_ones(name):
    assert signatures(name) == json.loads(RECORD.read_text())[name]


if __name__ == "__main__":
    lines = {
        name: ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in signatures(name).items())
        for name in MODULES
    }
    body = ",\n".join(f' "{name}": {{\n{text}\n }}' for name, text in lines.items())
    RECORD.write_text(f"{{\n{body}\n}}\n", encoding="utf-8")

"""Rules know the standard library, the pure modules of `shared`, the contracts (frozen values), and one another.

No I/O, no clock, no database, no HTTP. Which service may import which is checked by import-linter.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PURE = {
    f"shared.{name}" for name in ("money", "numbers", "units", "periods", "curves", "formula", "errors", "contracts")
}
IMPURE = {"asyncio", "http", "io", "os", "pathlib", "random", "secrets", "shutil", "socket", "sqlite3", "subprocess",
          "tempfile", "threading", "time", "urllib.request", "uuid"}  # fmt: skip
FILES = ("rules", "definitions")  # definitions: what the settings say, where rules.py would grow too long
STEPS = "services.incentives.entitlements.steps"  # how a calculation is written down; pure like the rules that do it
RULES = sorted(file for name in FILES for file in (ROOT / "services").glob(f"**/{name}.py"))
RULES.append(ROOT / (STEPS.replace(".", "/") + ".py"))
SHARED = [file for name in sorted(PURE) for file in ROOT.glob(name.replace(".", "/") + "*")]
PURE_FILES = [one for file in SHARED for one in (sorted(file.glob("*.py")) if file.is_dir() else [file])]


def imported(source: str) -> Iterator[str]:
    """Every module that a file imports, `from shared import money` included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"shared.{alias.name}" for alias in node.names) if module == "shared" else (module,)


def forbidden(source: str, *libraries: str) -> list[str]:
    def allowed(name: str) -> bool:
        top, *rest = name.split(".")
        if top == "shared":
            return f"shared.{rest[0]}" in PURE
        if top == "services":
            return rest[-1] in FILES or name == STEPS
        return top in libraries or (top in sys.stdlib_module_names and not IMPURE & {top, name})

    return [name for name in imported(source) if not allowed(name)]


@pytest.mark.parametrize("file", RULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_rules_import_only_what_is_pure(file: Path) -> None:
    assert forbidden(file.read_text()) == []


@pytest.mark.parametrize("file", PURE_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_rules_import_is_pure_itself(file: Path) -> None:
    # The type that numbers have on the wire does no I/O either.
    assert forbidden(file.read_text(), "pydantic", "pydantic_core") == []


@pytest.mark.parametrize(
    "line", ["import sqlalchemy", "from shared import settings", "from shared.log import Log", "import os",
             "from . import store", "from services.goals.tree import store"]
)  # fmt: skip
def test_what_is_not_pure_is_found(line: str) -> None:
    assert forbidden(line) != []

"""The checker's operations against those that made the statements: two programs, one page that both follow."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.incentives.entitlements.steps import OPERATIONS, _literal
from tools.check_statement import PLAIN, answers_of, compute, number

numbers = st.decimals("-1e9", "1e9", places=6).map(lambda one: f"{one:f}")
positive = st.decimals("0", "1e6", places=3).map(lambda one: f"{one:f}")
rising = st.lists(st.integers(-1_000, 1_000), min_size=2, max_size=6, unique=True).map(sorted)
bounds = st.fixed_dictionaries({}, optional={"floor": st.just("-5"), "cap": st.just("70")})


@st.composite
def curves(draw: Any) -> str:
    xs = draw(rising)
    ys = [draw(numbers) for _ in xs]
    bands = [{"from": str(a), "to": str(b), "value": y} for a, b, y in zip(xs, [*xs[1:], "2000"], ys, strict=True)]
    bands[-1]["to"] = None
    kinds = ({"kind": "linear", "slope": ys[0]}, {"kind": "step", "bands": bands},
             {"kind": "interpolated", "points": [[str(x), y] for x, y in zip(xs, ys, strict=True)]})  # fmt: skip
    return json.dumps(draw(st.sampled_from(kinds)) | draw(bounds))


@st.composite
def tables(draw: Any) -> str:
    xs = sorted({0, *(abs(x) + 1 for x in draw(rising))})
    tiers = [
        {"from": str(a), "to": b, "rate": draw(positive)} for a, b in zip(xs, [*map(str, xs[1:]), None], strict=True)
    ]
    return json.dumps({"kind": "tiers", "mode": draw(st.sampled_from(["whole", "marginal"])), "tiers": tiers})


@st.composite
def arguments(draw: Any) -> tuple[str, list[str]]:
    """An operation and literals for it."""
    op = draw(st.sampled_from(sorted(OPERATIONS)))
    digits = draw(st.sampled_from(["0", "2", "3"]))
    whole = f"{Decimal(draw(st.integers(-(10**9), 10**9))).scaleb(-int(digits)):f}"
    if op == "split":
        ids = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True))
        pairs = [text for id in ids for text in (f"person:{id}", draw(positive.filter(lambda one: Decimal(one) > 0)))]
        return op, [whole, digits, f"person:{ids[0]}", *pairs]
    if op == "scale":
        return op, [whole.lstrip("-"), draw(positive), draw(positive), draw(st.sampled_from("01")), digits]
    given_ = {"curve": lambda: [draw(numbers), draw(curves())], "tiers": lambda: [draw(numbers), draw(tables())],
              "round": lambda: [draw(numbers), digits], "given": lambda: [draw(numbers)],
              "constant": lambda: [draw(numbers)]}  # fmt: skip
    found = given_.get(op, lambda: [draw(numbers), draw(numbers)])()
    return op, ["1", "3"] if op == "quotient" and Decimal(found[1]) == 0 else found


@settings(max_examples=600)
@given(arguments())
def test_each_operation_comes_to_what_made_the_statement(case: tuple[str, list[str]]) -> None:
    op, of = case
    assert compute(op, of) == OPERATIONS[op](*[_literal(one) for one in of])


def test_the_checker_knows_every_operation() -> None:
    assert PLAIN.keys() | {"curve", "tiers", "split"} == OPERATIONS.keys()


@pytest.mark.parametrize("text", [1, 1.5, "NaN", "1e3", "Infinity", "x", None])
def test_what_is_no_plain_number_is_refused(text: Any) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        number(text)


def test_the_checker_imports_the_standard_library_alone() -> None:
    file = Path(__file__).parents[2] / "tools" / "check_statement.py"
    done = subprocess.run([sys.executable, "-I", "-S", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("Checks statements")) == (2, True)
    assert list(answers_of("[1, 2]")) == [1, 2]


def test_the_example_that_the_docs_show_is_sound() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-I", "tools/check_statement.py", "docs/examples/statement.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert (done.returncode, done.stdout) == (0, "2 statements, 0 differences.\n")
    assert f"$ python {' '.join(command[2:])}\n{done.stdout}" in (root / "docs/statements.md").read_text()

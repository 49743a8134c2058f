"""The little of the expression language that stories use, read with Python's own parser."""

import ast
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from tests.simulation.settings import EXACT, over


class Missing(Exception):
    """There is no value: a name without one, text where a number belongs, a division by zero."""


Look = Callable[[str | None, str], Any]
"""The value of a name, or of what a function such as `previous` means by it."""
LOOKING = ("previous", "same_period_last_year", "parameter", "benchmark")


@cache
def parsed(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


def inputs(source: str) -> set[tuple[str | None, str]]:
    """What a formula reads: (function, name); the function is None for the current period."""
    calls = [node for node in ast.walk(parsed(source)) if isinstance(node, ast.Call)]
    looked = {_called(node): node.args[0] for node in calls if _called(node) in LOOKING}
    apart = {id(argument) for argument in looked.values()} | {id(call.func) for call in calls}
    found: set[tuple[str | None, str]] = {(how, node.id) for how, node in looked.items() if isinstance(node, ast.Name)}
    names = [node for node in ast.walk(parsed(source)) if isinstance(node, ast.Name) and id(node) not in apart]
    return found | {(None, node.id) for node in names}


def evaluate(source: str, look: Look) -> Any:
    """The value of an expression. Raises Missing."""
    return _value(source, parsed(source), look)


def in_event(source: str, scope: Mapping[str, Any]) -> Any:
    """The value of a mapping's expression in an event. Raises Missing."""
    return evaluate(source, lambda _, name: scope.get(name))


def _value(source: str, node: ast.expr, look: Look) -> Any:
    def value(inner: ast.expr) -> Any:
        return _value(source, inner, look)

    match node:
        case ast.Constant():
            return node.value if isinstance(node.value, str) else Decimal(ast.get_source_segment(source, node) or "")
        case ast.Name():
            return _present(look(None, node.id))
        case ast.Attribute():
            return _member(value(node.value), node.attr)
        case ast.Call():
            if (name := _called(node)) in LOOKING:
                assert isinstance(node.args[0], ast.Name)
                return _present(look(name, node.args[0].id))
            return FUNCTIONS[name](*map(value, node.args))
        case ast.BinOp():
            return _arithmetic(node.op, value(node.left), value(node.right))
        case ast.Compare():
            equal = value(node.left) == value(node.comparators[0])
            return equal if isinstance(node.ops[0], ast.Eq) else not equal
    raise NotImplementedError(f"stories do not use {ast.dump(node)}")


def _called(node: ast.Call) -> str:
    assert isinstance(node.func, ast.Name)
    return node.func.id


def _present(value: Any) -> Any:
    if value is None:
        raise Missing
    return Decimal(value) if isinstance(value, int) else value


def _member(owner: Any, name: str) -> Any:
    return _present(owner.get(name) if isinstance(owner, Mapping) else None)


def _arithmetic(op: ast.operator, a: Decimal, b: Decimal) -> Decimal:
    if isinstance(op, ast.Div):
        if not b:
            raise Missing
        return over(a, b)
    exactly = {ast.Add: EXACT.add, ast.Sub: EXACT.subtract, ast.Mult: EXACT.multiply}
    return exactly[type(op)](a, b)  # type: ignore[index]


def as_number(value: Any) -> Decimal:
    if isinstance(value, Decimal):
        return value
    try:
        return Decimal(value.strip())
    except ArithmeticError:
        raise Missing from None


def _moment(value: str) -> datetime:
    return datetime.fromisoformat(value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "number": as_number, "concat": lambda *texts: "".join(texts), "timestamp": _moment, "min": min, "max": max,
}  # fmt: skip

"""From the tree to nested closures: compiled once, evaluated per event or per subject and period."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, DecimalException
from typing import Any

from shared.formula.functions import Closure
from shared.formula.syntax import Call, Chain, Expression, Function, ListOf, Literal, Name, Node, fail
from shared.formula.values import Null, Outcome, Value, as_decimal, as_items, as_truth, kind_of, loaded
from shared.numbers import INTEGER_DIGITS, add, divide, multiply, subtract

Lookup = Callable[[str | None, str], Decimal | None]


def compile_formula(expression: Expression) -> Callable[[Lookup], Outcome]:
    """The formula as a function of a lookup: `lookup(None, name)` gives a reading, `lookup("previous", name)` a call.

    The lookup answers None, or raises Null with its own reason, where there is no value. Raises FormulaError here
    for an indexed name, never on data.
    """
    return _outcome(_Compiler(expression.functions, _looked_up).closure(expression.root))


def compile_mapping(expression: Expression) -> Callable[[Mapping[str, object]], Outcome]:
    """The expression as a function of event data (`{"data": …, "item": …}`); a path that leads nowhere is null."""
    return _outcome(_Compiler(expression.functions, _path).closure(expression.root))


def _outcome(closure: Closure) -> Callable[[Any], Outcome]:
    def evaluate(scope: Any) -> Outcome:
        try:
            value = closure(scope)
        except Null as null:
            return Outcome(None, null.reason)
        if value.__class__ is Decimal and value and value.adjusted() >= INTEGER_DIGITS:
            return Outcome(None, f"the result has more than {INTEGER_DIGITS} digits before the point")
        return Outcome(value)

    return evaluate


@dataclass(frozen=True, slots=True)
class _Compiler:
    functions: Mapping[str, Function]
    name: Callable[[Name], Closure]

    def closure(self, node: Node) -> Closure:
        match node:
            case Literal(value):
                return _constant(value)
            case Name():
                return self.name(node)
            case Chain():
                return self.chain(node)
            case ListOf(items):
                members = [self.closure(item) for item in items]
                return lambda scope: [member(scope) for member in members]
            case Call():
                return self.call(node)

    def chain(self, node: Chain) -> Closure:
        first = self.closure(node.first)
        steps = [(_ARITHMETIC[symbol], self.closure(operand)) for symbol, operand in node.rest]

        def run(scope: Any) -> Value:
            result = first(scope)
            for compute, operand in steps:
                result = compute(result, operand(scope))
            return result

        return run

    def call(self, node: Call) -> Closure:
        function = _OPERATORS.get(node.function) or self.functions[node.function]
        if not (function.apply or function.build):
            return _lookup(node.function, str(node.arguments[0].value))  # type: ignore[union-attr]
        arguments = [self.closure(argument) for argument in node.arguments]
        if function.build:
            return function.build(*arguments)
        apply: Any = function.apply
        return lambda scope: apply(*[argument(scope) for argument in arguments])


def _looked_up(node: Name) -> Closure:
    if not all(isinstance(part, str) for part in node.path):
        fail(node.position, "a formula reads whole readings, not items of a list.")
    return _lookup(None, node.text)


def _lookup(function: str | None, name: str) -> Closure:
    label = name if function is None else f"{function}({name})"

    def run(lookup: Lookup) -> Value:
        value = lookup(function, name)
        if value is None:
            raise Null(f"{label} has no value")
        return loaded(value, label)

    return run


def _path(node: Name) -> Closure:
    path, label = node.path, node.text

    def run(scope: Any) -> Value:
        for part in path:
            try:
                if scope.__class__ is str:  # an index would find a character
                    raise TypeError
                scope = scope[part]
            except (KeyError, IndexError, TypeError):
                raise Null(f"{label} is missing") from None
        return loaded(scope, label)

    return run


def _constant(value: Value) -> Closure:
    def null(_: Any) -> Value:
        raise Null("null")

    return null if value is None else lambda _: value


def _arithmetic(compute: Callable[[Decimal, Decimal], Decimal]) -> Callable[[Value, Value], Decimal]:
    def run(a: Value, b: Value) -> Decimal:
        try:
            return compute(as_decimal(a), as_decimal(b))
        except DecimalException:
            raise Null("a number has too many digits") from None

    return run


def _divide(a: Decimal, b: Decimal) -> Decimal:
    if not b:
        raise Null("division by zero")
    return divide(a, b)


def _logic(deciding: bool) -> Callable[..., Closure]:
    """Three-valued (false and null is false, true or null true); what follows a deciding operand is skipped."""

    def build(*operands: Closure) -> Closure:
        def run(scope: Any) -> bool:
            missing: str | None = None
            for operand in operands:
                try:
                    if as_truth(operand(scope)) is deciding:
                        return deciding
                except Null as null:
                    missing = missing or null.reason
            if missing:
                raise Null(missing)
            return not deciding

        return run

    return build


def _comparison(symbol: str, compare: Callable[[Any, Any], Any]) -> Callable[[Value, Value], bool]:
    ordered = symbol not in ("==", "!=")

    def run(a: Value, b: Value) -> bool:
        if a.__class__ is not b.__class__ or isinstance(a, list | tuple | Mapping) or (ordered and isinstance(a, bool)):
            raise Null(f"{kind_of(a)} and {kind_of(b)} cannot be compared by {symbol}")
        # Python calls a time with and one without an offset unequal; here that is unknown.
        if isinstance(a, datetime) and (a.tzinfo is None) != (b.tzinfo is None):
            raise Null("one of two times has no offset")
        return bool(compare(a, b))

    return run


def _in(value: Value, items: Value) -> bool:
    if isinstance(value, list | tuple | Mapping):
        raise Null(f"{kind_of(value)} cannot be looked for in a list")
    found = (loaded(item, "an item") for item in as_items(items) if item is not None)
    return any(item.__class__ is value.__class__ and item == value for item in found)


_ARITHMETIC = {
    "+": _arithmetic(add),
    "-": _arithmetic(subtract),
    "*": _arithmetic(multiply),
    "/": _arithmetic(_divide),
}
_COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPERATORS = {
    "-": Function(1, 1, lambda value: as_decimal(value).copy_negate()),
    "not": Function(1, 1, lambda value: not as_truth(value)),
    "and": Function(2, None, build=_logic(False)),
    "or": Function(2, None, build=_logic(True)),
    "in": Function(2, 2, _in),
} | {symbol: Function(2, 2, _comparison(symbol, compare)) for symbol, compare in _COMPARE.items()}

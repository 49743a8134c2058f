"""From the tree to nested closures: compiled once, evaluated per event or per subject and period."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, DecimalException
from typing import Any

from shared.formula.functions import Closure
from shared.formula.syntax import (
    Call,
    Chain,
    Comparison,
    Expression,
    Function,
    ListOf,
    Literal,
    Logic,
    Name,
    Node,
    Unary,
    fail,
)
from shared.formula.values import Null, Outcome, Value, as_decimal, as_items, kind_of, loaded, same
from shared.numbers import INTEGER_DIGITS, add, divide, multiply, subtract

Lookup = Callable[[str | None, str], Decimal | None]
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPARE = _ORDER | {"==": operator.eq, "!=": operator.ne}


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
            case Comparison():
                return self.comparison(node)
            case Logic(kind, operands):
                return _logic(kind, [self.closure(operand) for operand in operands])
            case Unary("-", operand):
                return _negated(self.closure(operand))
            case Unary(_, operand):
                return _not(self.closure(operand))
            case ListOf(items):
                members = [self.closure(item) for item in items]
                return lambda scope: [member(scope) for member in members]
            case Call():
                return self.call(node)

    def chain(self, node: Chain) -> Closure:
        left = self.closure(node.first)
        steps = [(_ARITHMETIC[term.operator], self.closure(term.operand)) for term in node.rest]
        if len(steps) == 1:
            compute, right = steps[0]
            return lambda scope: compute(left(scope), right(scope))

        def run(scope: Any) -> Value:
            result = left(scope)
            for compute, operand in steps:
                result = compute(result, operand(scope))
            return result

        return run

    def comparison(self, node: Comparison) -> Closure:
        left, right = self.closure(node.left), self.closure(node.right)
        if node.operator == "in":
            return _membership(left, right, _constants(node.right))
        return _comparison(node.operator, left, right)

    def call(self, node: Call) -> Closure:
        function = self.functions[node.function]
        arguments = [self.closure(argument) for argument in node.arguments]
        if function.build:
            return function.build(*arguments)
        if apply := function.apply:
            if len(arguments) == 1:
                only = arguments[0]
                return lambda scope: apply(only(scope))
            return lambda scope: apply(*[argument(scope) for argument in arguments])
        return _lookup(node.function, str(node.arguments[0].value))  # type: ignore[union-attr]


def _constant(value: Value) -> Closure:
    if value is not None:
        return lambda _: value

    def null(_: Any) -> Value:
        raise Null("null")

    return null


def _arithmetic(compute: Callable[[Decimal, Decimal], Decimal]) -> Callable[[Value, Value], Decimal]:
    def run(a: Value, b: Value) -> Decimal:
        if a.__class__ is not Decimal or b.__class__ is not Decimal:
            as_decimal(a), as_decimal(b)
        try:
            return compute(a, b)
        except DecimalException:
            raise Null("a number has too many digits") from None

    return run


def _divide(a: Decimal, b: Decimal) -> Decimal:
    if not b:
        raise Null("division by zero")
    return divide(a, b)


_ARITHMETIC = {
    "+": _arithmetic(add),
    "-": _arithmetic(subtract),
    "*": _arithmetic(multiply),
    "/": _arithmetic(_divide),
}


def _negated(closure: Closure) -> Closure:
    return lambda scope: as_decimal(closure(scope)).copy_negate()


def _truth(value: Value) -> bool:
    if value is True or value is False:
        return bool(value)
    raise Null(f"and, or and not need true or false, not {kind_of(value)}")


def _not(closure: Closure) -> Closure:
    return lambda scope: not _truth(closure(scope))


def _logic(kind: str, operands: list[Closure]) -> Closure:
    """Three-valued (false and null is false, true or null true); what follows a deciding operand is skipped."""
    deciding = kind == "or"

    def run(scope: Any) -> bool:
        missing: str | None = None
        for operand in operands:
            try:
                if _truth(operand(scope)) is deciding:
                    return deciding
            except Null as null:
                missing = missing or null.reason
        if missing:
            raise Null(missing)
        return not deciding

    return run


def _comparison(symbol: str, left: Closure, right: Closure) -> Closure:
    compare = _COMPARE[symbol]
    plain_kinds = {Decimal, str} if symbol in _ORDER else {Decimal, str, bool}

    def run(scope: Any) -> bool:
        a, b = left(scope), right(scope)
        if a.__class__ is b.__class__:
            if a.__class__ in plain_kinds:
                return bool(compare(a, b))
            if not isinstance(a, bool | list | tuple | Mapping):
                return _compared(compare, a, b)
        raise Null(f"{kind_of(a)} and {kind_of(b)} cannot be compared by {symbol}")

    return run


def _compared(compare: Callable[[Any, Any], Any], a: Value, b: Value) -> bool:
    """Two dates or two times. Python calls a time with and one without an offset unequal; here that is unknown."""
    if isinstance(a, datetime) and (a.tzinfo is None) != (b.tzinfo is None):
        raise Null("one of two times has no offset")
    return bool(compare(a, b))


def _constants(node: Node) -> frozenset[tuple[type, Value]] | None:
    if isinstance(node, ListOf) and all(isinstance(item, Literal) and item.value is not None for item in node.items):
        values = [item.value for item in node.items if isinstance(item, Literal)]
        return frozenset((value.__class__, value) for value in values)
    return None


def _membership(left: Closure, right: Closure, constants: frozenset[tuple[type, Value]] | None) -> Closure:
    def run(scope: Any) -> bool:
        value = left(scope)
        if isinstance(value, list | tuple | Mapping):
            raise Null(f"{kind_of(value)} cannot be looked for in a list")
        if constants is not None:
            return (value.__class__, value) in constants
        items = as_items(right(scope))
        return any(same(value, loaded(item, "an item")) for item in items if item is not None)

    return run

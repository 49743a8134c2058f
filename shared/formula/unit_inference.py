"""Units of formulas: what a formula's result is measured in, or why it cannot be computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal as OneOf

from shared.formula.syntax import COMPARISONS, Call, Chain, Expression, ListOf, Literal, Name, Node, fail
from shared.units import RATIO, Unit

# Zero and null fit any unit; truth and text fit none.
_Kind = Unit | OneOf["zero", "true or false", "text"]
_EQUAL_ARGUMENTS = {"sum", "avg", "min", "max", "coalesce"}


def infer_unit(
    expression: Expression,
    unit_of_name: Callable[[str], Unit | None],
    unit_of_call: Callable[[str, str], Unit | None],
) -> Unit:
    """The unit of the formula's result. Number literals are dimensionless, a bare zero fits any unit.

    `unit_of_name("revenue")` and `unit_of_call("previous", "revenue")` give the units of what the formula reads,
    None where unknown. Raises FormulaError, naming both units where two do not fit, and for a result without number.
    """
    kind = _Inference(unit_of_name, unit_of_call).kind(expression.root)
    if isinstance(kind, Unit):
        return kind
    if kind == "zero":
        return RATIO
    fail(expression.root.position, f"a formula yields a number, this one {kind}.")


@dataclass(frozen=True, slots=True)
class _Inference:
    unit_of_name: Callable[[str], Unit | None]
    unit_of_call: Callable[[str, str], Unit | None]

    def kind(self, node: Node) -> _Kind:
        match node:
            case Literal(bool()):
                return "true or false"
            case Literal(str()):
                return "text"
            case Literal(value):
                return RATIO if value else "zero"
            case Name():
                return _known(self.unit_of_name(node.text), node.text, node.position)
            case Chain():
                return self.chain(node)
            case ListOf():
                fail(node.position, "a list stands only after in.")
            case Call():
                return self.call(node)

    def chain(self, node: Chain) -> _Kind:
        if node.rest[0][0] in "+-":
            return self.joined([node.first, *(operand for _, operand in node.rest)], numbers=True)
        unit = self.factor(node.first)
        for symbol, operand in node.rest:
            unit = unit * self.factor(operand) if symbol == "*" else unit / self.factor(operand)
        return unit

    def factor(self, node: Node) -> Unit:
        kind = self.number(node)
        return kind if isinstance(kind, Unit) else RATIO

    def call(self, node: Call) -> _Kind:
        name, arguments = node.function, node.arguments
        if name in ("and", "or", "not"):
            return self.truth(*arguments)
        if name in COMPARISONS:
            last = arguments[1]
            self.joined([arguments[0], *(last.items if isinstance(last, ListOf) else (last,))])
            return "true or false"
        if name == "if":
            self.truth(arguments[0])
            return self.joined(arguments[1:])
        if name in _EQUAL_ARGUMENTS:
            return self.joined(arguments, numbers=name != "coalesce")
        if name in ("-", "abs", "round"):
            self.joined([Literal(Decimal(1), node.position), *arguments[1:]])
            return self.number(arguments[0])
        if isinstance(code := arguments[0], Literal) and len(arguments) == 1:
            return _known(self.unit_of_call(name, str(code.value)), f"{name}({code.value})", node.position)
        fail(node.position, f"{name} has no unit.")

    def joined(self, nodes: Sequence[Node], numbers: bool = False) -> _Kind:
        """The one kind that all nodes share."""
        found: _Kind = "zero"
        for node in nodes:
            kind = self.number(node) if numbers else self.kind(node)
            if found == "zero":
                found = kind
            elif kind not in ("zero", found):
                fail(
                    node.position,
                    f"{found} and {kind} cannot be added, compared or exchanged.",
                    "Bring both to one unit, for instance by a parameter that has one.",
                    units=[str(found), str(kind)],
                )
        return found

    def number(self, node: Node) -> _Kind:
        kind = self.kind(node)
        if kind in ("true or false", "text"):
            fail(node.position, f"expected a number, found {kind}.", expected="a number")
        return kind

    def truth(self, *nodes: Node) -> _Kind:
        for node in nodes:
            if (kind := self.kind(node)) not in ("true or false", "zero"):
                fail(node.position, f"expected true or false, found {kind}.", expected="true or false")
        return "true or false"


def _known(unit: Unit | None, what: str, position: int) -> Unit:
    if unit is None:
        fail(position, f"the unit of {what[:60]} is not known.", "Define it first.")
    return unit

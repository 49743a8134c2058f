"""The grammar of the expression language, from text to a tree; every limit is checked before anything is computed.

    or · and · not · == != < <= > >= in · + - · * / · unary - · literals, names, calls, parentheses, [lists]

An operator is a call of a function with its sign as the name. Chains (`a + b - c`) are one node however long, so that
only real nesting makes the tree deep.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import takewhile
from typing import Any, NamedTuple, NoReturn

from shared.errors import Invalid
from shared.numbers import NumberOutOfRange, parse_decimal

MAX_LENGTH, MAX_DEPTH, MAX_STRING = 2_000, 40, 200

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+) | (?P<number>[0-9][\w.]*) | (?P<name>[^\W\d]\w*)
      | (?P<string>"[^"]*"|'[^']*') | (?P<operator>\*\*|==|!=|<=|>=|[-+*/<>()\[\],.])""",
    re.VERBOSE,
)
_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _UNARY = range(1, 8)
COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">=", "in"))
_LEVEL = {"or": _OR, "and": _AND, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT} | dict.fromkeys(
    COMPARISONS, _COMPARE
)
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_KEYWORDS = {*_CONSTANTS, "and", "or", "not", "in"}
_HINTS = {
    "=": "Equality is written ==.",
    "&": "Write and.",
    "|": "Write or.",
    "!": "Write not, or != for unequal.",
    "%": "Write 0.05 for 5 %.",
    "^": "There is no power operator.",
    '"': "A string lacks its closing quote.",
    "'": "A string lacks its closing quote.",
}


class FormulaError(Invalid):
    """An expression breaks the grammar, a limit or the rules of units. `more["position"]` counts characters from 1."""


def fail(position: int, rule: str, remedy: str | None = None, **more: Any) -> NoReturn:
    """Raises FormulaError at the 0-based position."""
    raise FormulaError(
        f"At character {position + 1}: {rule}", field="formula", remedy=remedy, position=position + 1, **more
    )


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, string, true, false or null."""

    value: Decimal | str | bool | None
    position: int


@dataclass(frozen=True, slots=True)
class Name:
    """A path such as data.lines[0].qty."""

    path: tuple[str | int, ...]
    position: int

    @property
    def text(self) -> str:
        first, *rest = self.path
        return str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list written in the expression."""

    items: tuple["Node", ...]
    position: int


@dataclass(frozen=True, slots=True)
class Chain:
    """Operands joined by + and -, or by * and /, from left to right; each but the first with its operator."""

    first: "Node"
    rest: tuple[tuple[str, "Node"], ...]
    position: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function, or one of not, and, or, == != < <= > >= in and the sign -, with its arguments."""

    function: str
    arguments: tuple["Node", ...]
    position: int


Node = Literal | Name | ListOf | Chain | Call


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    Args:
        least, most: number of arguments; `most` None means any number.
        apply: the values in, the value out; a null argument makes the result null before it is called.
        build: for functions that decide which arguments to evaluate: closures in, closure out.
        name_at: which argument is a bare name (or a quoted code) rather than a value.

    With neither `apply` nor `build` the call is resolved by the lookup that evaluates the formula.
    """

    least: int
    most: int | None
    apply: Callable[..., Any] | None = None
    build: Callable[..., Callable[[Any], Any]] | None = None
    name_at: int | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression, the names it reads and the (function, name) pairs that the lookup must resolve."""

    source: str
    root: Node
    names: frozenset[str]
    calls: frozenset[tuple[str, str]]
    functions: Mapping[str, Function] = field(repr=False, compare=False)


def parse(source: str, *, functions: Mapping[str, Function]) -> Expression:
    """The tree of an expression over the given functions (FORMULA or MAPPING). Raises FormulaError."""
    if len(source) > MAX_LENGTH:
        fail(MAX_LENGTH, f"an expression has at most {MAX_LENGTH:,} characters, this one {len(source):,}.")
    parser = _Parser(_tokens(source), functions)
    root = parser.expression()
    if parser.token.kind != "end":
        parser.expected("an operator or the end")
    return Expression(source, root, frozenset(parser.names), frozenset(parser.calls), functions)


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def _tokens(source: str) -> Iterator[_Token]:
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if not match:
            fail(position, f"{source[position]!a} is not part of the language.", _HINTS.get(source[position]))
        kind, text = str(match.lastgroup), match[0]
        if text == "**":
            fail(position, "there is no power operator.", "Write the product out.")
        if kind == "string" and (len(text) - 2 > MAX_STRING or not text.isprintable()):
            fail(position, f"a string has at most {MAX_STRING} characters, all of them printable.")
        if kind != "space":
            yield _Token(kind, text, position)
        position = match.end()
    yield _Token("end", "", len(source))


class _Parser:
    """Precedence climbing over the tokens; one instance per parse."""

    def __init__(self, tokens: Iterator[_Token], functions: Mapping[str, Function]) -> None:
        self.tokens, self.functions = tokens, functions
        self.token, self.depth = next(tokens), 0
        self.names: set[str] = set()
        self.calls: set[tuple[str, str]] = set()

    def advance(self) -> _Token:
        taken = self.token
        self.token = next(self.tokens, taken)
        return taken

    def expected(self, what: str) -> NoReturn:
        found = repr(self.token.text[:40]) if self.token.kind != "end" else "the end"
        fail(self.token.position, f"expected {what}, found {found}.", expected=what)

    def take(self, text: str) -> None:
        if self.token.text != text:
            self.expected(repr(text))
        self.advance()

    def expression(self, level: int = _OR) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            fail(self.token.position, f"operators, calls and brackets nest at most {MAX_DEPTH} deep.")
        left = self.prefix(level)
        while (here := _LEVEL.get(self.token.text, 0)) >= level:
            left = self.joined(left, here)
        self.depth -= 1
        return left

    def joined(self, first: Node, level: int) -> Node:
        position = self.token.position
        rest: list[tuple[str, Node]] = []
        while _LEVEL.get(self.token.text) == level:
            if rest and level == _COMPARE:
                fail(self.token.position, "comparisons do not chain.", "Join two comparisons with and.")
            rest.append((self.advance().text, self.expression(level + 1)))
        if level in (_SUM, _PRODUCT):
            return Chain(first, tuple(rest), position)
        return Call(rest[0][0], (first, *(operand for _, operand in rest)), position)

    def prefix(self, level: int) -> Node:
        text, position = self.token.text, self.token.position
        if text == "-" or (text == "not" and level <= _NOT):
            self.advance()
            return Call(text, (self.expression(_UNARY if text == "-" else _NOT),), position)
        return self.primary()

    def primary(self) -> Node:
        token = self.token
        if token.text not in ("(", "[") and (
            token.kind in ("operator", "end") or token.text in ("and", "or", "not", "in")
        ):
            self.expected("a value")
        if token.text == "[":
            return ListOf(self.items("[", "]"), token.position)
        self.advance()
        if token.text == "(":
            inner = self.expression()
            self.take(")")
            return inner
        if token.kind == "number":
            return _number(token)
        if token.kind == "string":
            return Literal(token.text[1:-1], token.position)
        if token.text in _CONSTANTS:
            return Literal(_CONSTANTS[token.text], token.position)
        return self.call(token) if self.token.text == "(" else self.name(token)

    def items(self, opening: str, closing: str, name_at: int | None = None) -> tuple[Node, ...]:
        self.take(opening)
        found: list[Node] = []
        while self.token.text != closing:
            if found:
                self.take(",")
            found.append(self.code() if len(found) == name_at else self.expression())
        self.advance()
        return tuple(found)

    def path(self, token: _Token) -> Name:
        path: list[str | int] = [token.text]
        while self.token.text in (".", "["):
            path.append(self.key() if self.advance().text == "[" else self.member())
        return Name(tuple(path), token.position)

    def name(self, token: _Token) -> Name:
        name = self.path(token)
        self.names.add(Name(tuple(takewhile(lambda part: isinstance(part, str), name.path)), 0).text)
        return name

    def member(self) -> str:
        if self.token.kind != "name":
            self.expected("a name after the point")
        return self.advance().text

    def key(self) -> str | int:
        token = self.token
        if token.kind != "string" and not re.fullmatch("[0-9]{1,6}", token.text):
            self.expected('an index such as 0 or a key such as "Material-No"')
        self.advance()
        self.take("]")
        return token.text[1:-1] if token.kind == "string" else int(token.text)

    def call(self, token: _Token) -> Call:
        name, function = token.text, self.functions.get(token.text)
        if function is None:
            known = ", ".join(sorted(self.functions))
            fail(token.position, f"there is no function {name[:40]!r}.", f"There are {known}.")
        arguments = self.items("(", ")", function.name_at)
        if not function.least <= len(arguments) <= (function.most or len(arguments)):
            fail(token.position, f"{name} takes {_arity(function)}, not {len(arguments)}.")
        if function.name_at is not None and function.apply is None:
            code = arguments[function.name_at]
            assert isinstance(code, Literal)
            self.calls.add((name, str(code.value)))
        return Call(name, arguments, token.position)

    def code(self) -> Literal:
        """An argument that is a bare name or a quoted code."""
        token = self.token
        if token.kind not in ("string", "name"):
            self.expected("a name or a quoted code")
        self.advance()
        return Literal(token.text[1:-1] if token.kind == "string" else self.path(token).text, token.position)


def _number(token: _Token) -> Literal:
    try:
        return Literal(parse_decimal(token.text), token.position)
    except NumberOutOfRange as error:
        fail(token.position, f"{token.text[:40]!r} is not a number of the language.", error.rule)


def _arity(function: Function) -> str:
    if function.least == function.most:
        return f"{function.least} argument{'s' * (function.least != 1)}"
    return f"{function.least} {'or more' if function.most is None else f'to {function.most}'} arguments"

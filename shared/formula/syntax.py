"""The grammar of the expression language, from text to a tree; every limit is checked before anything is computed.

    or · and · not · == != < <= > >= in · + - · * / · unary - · literals, names, calls, parentheses, [lists]

Chains (`a + b - c`) are one node however long, so that only real nesting makes the tree deep.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

from shared.errors import Invalid
from shared.numbers import NumberOutOfRange, parse_decimal

MAX_LENGTH, MAX_DEPTH, MAX_STRING = 2_000, 40, 200

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+) | (?P<number>[0-9][\w.]*) | (?P<name>[^\W\d]\w*)
      | (?P<string>"[^"]*"|'[^']*') | (?P<operator>\*\*|==|!=|<=|>=|[-+*/<>()\[\],.])""",
    re.VERBOSE,
)
_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _UNARY = range(1, 8)
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "in")
_LEVEL = {"or": _OR, "and": _AND, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT} | dict.fromkeys(
    _COMPARISONS, _COMPARE
)
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_KEYWORDS = {"true", "false", "null", "and", "or", "not", "in"}
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
class Term:
    """One further operand of a chain with the operator before it."""

    operator: str
    operand: "Node"
    position: int


@dataclass(frozen=True, slots=True)
class Chain:
    """Operands joined by + and -, or by * and /, from left to right."""

    first: "Node"
    rest: tuple[Term, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Logic:
    """Operands joined by one of and, or."""

    operator: str
    operands: tuple["Node", ...]
    position: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`not` or `-` before its operand."""

    operator: str
    operand: "Node"
    position: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands and one of == != < <= > >= in."""

    operator: str
    left: "Node"
    right: "Node"
    position: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments."""

    function: str
    arguments: tuple["Node", ...]
    position: int


Node = Literal | Name | ListOf | Chain | Logic | Unary | Comparison | Call


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
    parser = _Parser(list(_tokens(source)), functions)
    root = parser.expression(_OR)
    if parser.token.kind != "end":
        parser.expected("an operator or the end")
    return Expression(source, root, frozenset(parser.names), frozenset(parser.calls), functions)


@dataclass(frozen=True, slots=True)
class _Token:
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
        if kind == "string":
            _check_string(position, text)
        if kind != "space":
            yield _Token(kind, text, position)
        position = match.end()
    yield _Token("end", "", len(source))


def _check_string(position: int, text: str) -> None:
    if len(text) - 2 > MAX_STRING:
        fail(position, f"a string has at most {MAX_STRING} characters.")
    if not text.isprintable():
        fail(position, "a string holds printable characters only.")


class _Parser:
    """Precedence climbing over the tokens; one instance per parse."""

    def __init__(self, tokens: list[_Token], functions: Mapping[str, Function]) -> None:
        self.tokens, self.functions = tokens, functions
        self.at, self.depth, self.token = 0, 0, tokens[0]
        self.names: set[str] = set()
        self.calls: set[tuple[str, str]] = set()

    def advance(self) -> _Token:
        taken = self.token
        self.at += 1
        self.token = self.tokens[min(self.at, len(self.tokens) - 1)]
        return taken

    def expected(self, what: str) -> NoReturn:
        found = repr(self.token.text[:40]) if self.token.kind != "end" else "the end"
        fail(self.token.position, f"expected {what}, found {found}.", expected=what)

    def is_next(self, text: str) -> bool:
        return self.token.text == text

    def take(self, text: str) -> _Token:
        if not self.is_next(text):
            self.expected(repr(text))
        return self.advance()

    def expression(self, level: int) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            fail(self.token.position, f"operators, calls and brackets nest at most {MAX_DEPTH} deep.")
        left = self.prefix(level)
        while self.level_here() >= level:
            left = self.chain(left, self.level_here())
        self.depth -= 1
        return left

    def level_here(self) -> int:
        return _LEVEL.get(self.token.text, 0)

    def chain(self, left: Node, level: int) -> Node:
        rest: list[Term] = []
        while self.level_here() == level:
            operator = self.advance()
            rest.append(Term(operator.text, self.expression(level + 1), operator.position))
        position = rest[0].position
        if level == _COMPARE:
            if len(rest) > 1:
                fail(rest[1].position, "comparisons do not chain.", "Join two comparisons with and.")
            return Comparison(rest[0].operator, left, rest[0].operand, position)
        if level in (_OR, _AND):
            return Logic(rest[0].operator, (left, *(term.operand for term in rest)), position)
        return Chain(left, tuple(rest), position)

    def prefix(self, level: int) -> Node:
        if self.is_next("not") and level <= _NOT:
            return Unary("not", position=self.advance().position, operand=self.expression(_NOT))
        if self.is_next("-"):
            return Unary("-", position=self.advance().position, operand=self.expression(_UNARY))
        return self.primary()

    def primary(self) -> Node:
        token = self.token
        if token.kind == "number":
            return self.number()
        if token.kind == "string":
            return Literal(self.advance().text[1:-1], token.position)
        if token.text in _CONSTANTS:
            return Literal(_CONSTANTS[self.advance().text], token.position)
        if token.kind == "name" and token.text not in _KEYWORDS:
            self.advance()
            return self.call(token) if self.is_next("(") else self.name(token)
        if self.is_next("("):
            self.advance()
            inner = self.expression(_OR)
            self.take(")")
            return inner
        if self.is_next("["):
            return ListOf(self.items("[", "]"), token.position)
        self.expected("a value")

    def number(self) -> Literal:
        token = self.advance()
        try:
            return Literal(parse_decimal(token.text), token.position)
        except NumberOutOfRange as error:
            fail(token.position, f"{token.text[:40]!r} is not a number of the language.", error.rule)

    def items(self, opening: str, closing: str, name_at: int | None = None) -> tuple[Node, ...]:
        self.take(opening)
        found: list[Node] = []
        while not self.is_next(closing):
            if found:
                self.take(",")
            found.append(self.code() if len(found) == name_at else self.expression(_OR))
        self.advance()
        return tuple(found)

    def path(self, token: _Token) -> Name:
        path: list[str | int] = [token.text]
        while self.is_next(".") or self.is_next("["):
            path.append(self.key() if self.advance().text == "[" else self.member())
        return Name(tuple(path), token.position)

    def name(self, token: _Token) -> Name:
        name = self.path(token)
        plain = next((i for i, part in enumerate(name.path) if isinstance(part, int)), len(name.path))
        self.names.add(Name(name.path[:plain], 0).text)
        return name

    def member(self) -> str:
        if self.token.kind != "name":
            self.expected("a name after the point")
        return self.advance().text

    def key(self) -> str | int:
        token = self.token
        if token.kind == "string":
            key: str | int = self.advance().text[1:-1]
        elif token.kind == "number" and re.fullmatch("[0-9]{1,6}", token.text):
            key = int(self.advance().text)
        else:
            self.expected('an index such as 0 or a key such as "Material-No"')
        self.take("]")
        return key

    def call(self, token: _Token) -> Call:
        function = self.functions.get(token.text)
        if function is None:
            fail(
                token.position,
                f"there is no function {token.text[:40]!r}.",
                f"There are {', '.join(sorted(self.functions))}.",
            )
        arguments = self.items("(", ")", function.name_at)
        if len(arguments) < function.least or (function.most is not None and len(arguments) > function.most):
            fail(token.position, f"{token.text} takes {_arity(function)}, not {len(arguments)}.")
        if function.name_at is not None and function.apply is None:
            code = arguments[function.name_at]
            assert isinstance(code, Literal)
            self.calls.add((token.text, str(code.value)))
        return Call(token.text, arguments, token.position)

    def code(self) -> Literal:
        """An argument that is a bare name or a quoted code."""
        token = self.token
        if token.kind == "string":
            return Literal(self.advance().text[1:-1], token.position)
        if token.kind != "name":
            self.expected("a name or a quoted code")
        return Literal(self.path(self.advance()).text, token.position)


def _arity(function: Function) -> str:
    if function.most is None:
        return f"{function.least} or more arguments"
    if function.least == function.most:
        return f"{function.least} argument{'s' if function.least != 1 else ''}"
    return f"{function.least} to {function.most} arguments"

"""JSON as I-JSON means it: what two readers could take differently, or no database can keep, is refused."""

import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any, NoReturn

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from shared.http.problems import Malformed, UnsupportedMediaType, clean

DEEPEST = 64
MOST_DIGITS = 40
LARGEST_EXPONENT = 40
PARSED_IN_THE_LOOP = 64 * 1024  # [bytes] above it, parsing would hold up every other request

_SURROGATE = re.compile("[\ud800-\udfff]")


class MalformedJson(Malformed):
    """The body is not JSON, or JSON that cannot be taken exactly."""


class NotJson(UnsupportedMediaType):
    """The body's content type is not JSON."""


class JsonNumber(Decimal):
    """A number with a point or an exponent, exact; its type tells it from a decimal that was sent as a string."""

    __slots__ = ()


def parse(body: bytes) -> Any:
    """The document in `body`; fractions as `JsonNumber`, never float.

    Raises:
        MalformedJson: not UTF-8, not JSON, NaN or Infinity, a member twice, a lone surrogate, a NUL character,
            deeper than 64, a number of more than 40 digits or with an exponent beyond 40, something after the end.

    >>> parse(b'{"weight": 0.10}')
    {'weight': JsonNumber('0.10')}
    """
    try:
        document = _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedJson(f"The body is not UTF-8: byte {error.start} does not fit.") from None
    except json.JSONDecodeError as error:
        raise MalformedJson(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        _too_deep()
    _check(document)
    return document


def _check(document: Any) -> None:
    """Walks without recursion, because depth is one of the things to be refused."""
    waiting = [(document, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, (dict, list)) and depth > DEEPEST:
            _too_deep()
        if isinstance(value, dict):
            waiting.extend((inner, depth + 1) for pair in value.items() for inner in pair)
        elif isinstance(value, list):
            waiting.extend((inner, depth + 1) for inner in value)
        elif isinstance(value, str) and "\0" in value:
            raise MalformedJson("A string contains the character NUL, which no text may.", remedy="Remove \\u0000.")
        elif isinstance(value, str) and not value.isascii() and _SURROGATE.search(value):
            raise MalformedJson("A string contains half of a surrogate pair.", remedy="Send whole characters.")


def _too_deep() -> NoReturn:
    raise MalformedJson(f"The body nests deeper than {DEEPEST} levels.", remedy="Send a flatter document.")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise MalformedJson(f"The member {clean(twice, 100)} is given twice in one object.", remedy="Send it once.")
    return members


def _whole(text: str) -> int:
    _check_digits(text)
    return int(text)


def _fraction(text: str) -> Decimal:
    mantissa, _, exponent = text.lower().partition("e")
    _check_digits(mantissa)
    if len(exponent) > 4 or abs(int(exponent or 0)) > LARGEST_EXPONENT:
        raise MalformedJson(f"A number has an exponent beyond {LARGEST_EXPONENT}.", remedy="Send a number in reach.")
    return JsonNumber(text)


def _check_digits(text: str) -> None:
    if sum(character.isdigit() for character in text) > MOST_DIGITS:
        raise MalformedJson(f"A number has more than {MOST_DIGITS} digits.", remedy="Send fewer digits.")


def _not_a_number(text: str) -> NoReturn:
    raise MalformedJson(f"{text} is not a JSON number.", remedy="Send null where there is no value.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_whole, parse_float=_fraction, parse_constant=_not_a_number
)


class StrictRequest(Request):
    """A request whose `json()` is strict, and says so by errors of ours."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            body = await self.body()
            self._json = parse(body) if len(body) <= PARSED_IN_THE_LOOP else await run_in_threadpool(parse, body)
        return self._json

    def require_json(self) -> None:
        """Raises NotJson unless the body is declared as JSON."""
        declared = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if declared != "application/json" and not (declared.startswith("application/") and declared.endswith("+json")):
            raise NotJson(
                f"This operation takes application/json; the content type is {clean(declared, 60) or 'missing'}.",
                remedy="Send Content-Type: application/json.",
            )

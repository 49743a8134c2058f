"""Money: an exact amount with its currency, rounded once where it becomes payable, and splits that add up."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from shared.errors import Invalid
from shared.numbers import ROUNDING, add, plain, total

# ISO 4217, list one, as of 2026; bullion, testing codes and "no currency" are left out: nobody is paid in them.
_ACTIVE = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CLF
CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF
IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT
MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD
SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS
VED VES VND VUV WST XAD XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
# Withdrawn, but still in the books that an ERP sends.
_WITHDRAWN = """
ANG ATS BEF BGN BYR CUC CYP DEM EEK ESP FIM FRF GRD HRK IEP ITL LTL LUF LVL MRO MTL NLG PTE ROL SIT SKK SLL STD TRL VEF
ZWL
"""
_CURRENCIES = frozenset((_ACTIVE + _WITHDRAWN).split())
_MINOR_DIGITS = {
    0: "BEF BIF BYR CLP DJF ESP GNF GRD ISK ITL JPY KMF KRW LUF PTE PYG RWF TRL UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DIGITS_OF = {code: digits for digits, codes in _MINOR_DIGITS.items() for code in codes.split()}


class UnknownCurrency(Invalid):
    """Not an ISO 4217 code of three capital letters."""


class CurrencyMismatch(Invalid):
    """Amounts in two currencies met without a rate."""


class SplitImpossible(Invalid):
    """The total or the weights leave no fair split in whole minor units."""


def is_currency(code: str) -> bool:
    """Whether the code is an active ISO 4217 currency or one of those withdrawn that old documents still carry."""
    return code in _CURRENCIES


def minor_digits(currency: str) -> int:
    """Decimals of the currency's minor unit: CNY 2, JPY 0, KWD 3. Raises UnknownCurrency."""
    if currency not in _CURRENCIES:
        raise UnknownCurrency(
            f"{currency[:12]!r} is not a currency.", field="currency", remedy="Use an ISO 4217 code such as CNY or EUR."
        )
    return _DIGITS_OF.get(currency, 2)


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount in one currency; unrounded until it becomes payable."""

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        minor_digits(self.currency)

    def __add__(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise CurrencyMismatch(
                f"{self.currency} and {other.currency} cannot be added or subtracted.",
                remedy="Convert one of them first.",
            )
        return Money(add(self.amount, other.amount), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return self + -other

    def __neg__(self) -> "Money":
        return Money(self.amount.copy_negate(), self.currency)

    def __str__(self) -> str:
        return f"{plain(self.amount)} {self.currency}"


def round_money(amount: Decimal, currency: str) -> Decimal:
    """Half-up (away from zero) to the currency's minor unit; once, where the amount becomes payable.

    >>> round_money(Decimal("2.345"), "CNY"), round_money(Decimal("-2.5"), "JPY")
    (Decimal('2.35'), Decimal('-3'))
    """
    return amount.quantize(Decimal(1).scaleb(-minor_digits(currency)), ROUND_HALF_UP, context=ROUNDING)


def split(whole: Money, weights: Sequence[tuple[str, Decimal]]) -> dict[str, Money]:
    """Shares by weight that add up to the whole: largest remainder, ties by participant id, sign put on afterwards.

    `weights` [ratio] need not add to one. Raises SplitImpossible.

    >>> half = Decimal("0.5")
    >>> [str(part) for part in split(Money(Decimal("-0.05"), "EUR"), [("a", half), ("b", half)]).values()]
    ['-0.03 EUR', '-0.02 EUR']
    """
    digits = minor_digits(whole.currency)
    minor = int(whole.amount.copy_abs().scaleb(digits, context=ROUNDING))
    shares = _integers(whole, weights)
    base = sum(shares.values())
    parts = {who: minor * share // base for who, share in shares.items()}
    by_remainder = sorted(shares, key=lambda who: (-(minor * shares[who] % base), who))
    for who in by_remainder[: minor - sum(parts.values())]:
        parts[who] += 1
    sign = -1 if whole.amount < 0 else 1
    return {
        who: Money(Decimal(sign * part).scaleb(-digits, context=ROUNDING), whole.currency)
        for who, part in parts.items()
    }


def _integers(whole: Money, weights: Sequence[tuple[str, Decimal]]) -> dict[str, int]:
    """The weights as integers in the same proportion, so that no share is ever rounded on the way."""
    values = [weight for _, weight in weights]
    if whole.amount != round_money(whole.amount, whole.currency):
        raise SplitImpossible(f"{whole} is not a whole number of minor units.", remedy="Round it before splitting.")
    if len({who for who, _ in weights}) < len(weights):
        raise SplitImpossible("A participant appears twice in one split.", remedy="Add their weights first.")
    if any(not value.is_finite() or value < 0 for value in values) or not total(values):
        raise SplitImpossible("A split needs weights of zero or more, at least one above zero.", field="weights")
    scale = -min(int(value.as_tuple().exponent) for value in values)
    return {who: int(weight.scaleb(scale, context=ROUNDING)) for who, weight in weights}

"""What holds for payout runs: which state follows which, who may approve, and whose accounts are whose."""

from collections.abc import Collection, Mapping
from typing import Literal

from shared.contracts.payouts import Hold, PayeeMerge, PaymentAccount
from shared.errors import Conflict, Forbidden, Invalid

Status = Literal[
    "draft", "calculating", "calculated", "submitted", "approved", "releasing", "released", "settled"
]  # fmt: skip
LineStatus = Literal["open", "kept", "released", "settled", "failed", "retried", "reversed"]
# From which states each act leads on, and where it stands done already, so that to repeat it changes nothing.
FROM: Mapping[str, tuple[Status, ...]] = {
    "calculate": ("draft", "calculated", "submitted", "approved"),
    "submit": ("calculated",),
    "approve": ("submitted",),
    "reject": ("submitted",),
    "release": ("approved",),
    "settle": ("released", "settled"),
    "pay": ("released", "settled"),
}
DONE: Mapping[str, tuple[Status, ...]] = {
    "calculate": ("calculating",),
    "release": ("releasing", "released", "settled"),
}


# The answers that say of a line in one of these states what is known already.
KNOWN: Mapping[str, tuple[LineStatus, ...]] = {
    "settled": ("settled", "reversed"),
    "failed": ("failed", "retried", "reversed"),
    "returned": ("failed", "retried", "reversed"),
}


class RunNotInState(Conflict):
    """The run is in another state than this needs."""


class ApprovesOwn(Forbidden):
    """Who prepared a run may not approve it, whatever their roles."""


class ContentChanged(Conflict):
    """The run is not what the approval names."""


class NothingToPay(Conflict):
    """The run has no line."""


class MergeInCircles(Invalid):
    """Payees were merged into one another."""


class AccountIncomplete(Invalid):
    """A payment account has an IBAN or a number, and the IBAN's check digits fit."""


class HoldIncomplete(Invalid):
    """A hold says why, and ends after it starts."""


def check_state(act: str, code: str, status: Status) -> bool:
    """Whether the act is done already. Raises RunNotInState where it is neither done nor possible."""
    if status in DONE.get(act, ()):
        return True
    if status not in FROM[act]:
        rule = f"The run {code} is {status}; to {act} it, it must be {' or '.join(FROM[act])}."
        raise RunNotInState(rule, field="run", remedy=f"Look at it with GET /incentives/v1/payout-runs/{code}.")
    return False


def check_approver(approver: str, preparers: Collection[str]) -> None:
    """Raises ApprovesOwn. A person counts, not the token or its roles."""
    if approver in preparers:
        rule = "Who opened, calculated or submitted a run does not approve it, whatever their roles."
        raise ApprovesOwn(rule, remedy="Ask somebody else who may approve.")


def check_hash(named: str, current: str | None) -> None:
    """Raises ContentChanged."""
    if named != current:
        rule = "The approval names another content than the run has; it was calculated again since."
        raise ContentChanged(rule, field="hash", remedy="Look at the run as it is now, and approve that.")


def resolved(merges: Mapping[str, str]) -> dict[str, str]:
    """Each merged payee with the one that is left in the end. Raises MergeInCircles.

    >>> resolved({"person:a": "person:b", "person:b": "person:c"})
    {'person:a': 'person:c', 'person:b': 'person:c'}
    """
    found = {}
    for start in merges:
        seen, at = {start}, merges[start]
        while at in merges:
            if at in seen:
                rule = f"{start} would be merged into itself, by way of {at}."
                raise MergeInCircles(rule, field="to_payee", remedy="Merge into the payee that is left.")
            seen.add(at)
            at = merges[at]
        found[start] = at
    return found


def check_merge(code: str, new: PayeeMerge, others: Mapping[str, PayeeMerge]) -> None:
    """Raises MergeInCircles. `others` are the merges known, by code."""
    known = {each.from_payee: each.to_payee for other, each in others.items() if other != code}
    if known.get(new.from_payee, new.to_payee) != new.to_payee or new.from_payee == new.to_payee:
        rule = f"{new.from_payee} is merged into {known.get(new.from_payee, 'itself')} already."
        raise MergeInCircles(rule, field="from_payee", remedy="Correct that merge.")
    resolved(known | {new.from_payee: new.to_payee})


def check_hold(new: Hold) -> None:
    """Raises HoldIncomplete."""
    if not new.reason:
        raise HoldIncomplete("A hold says why.", field="reason", remedy="Add the reason.")
    if new.ends is not None and new.ends < new.starts:
        rule = f"It ends on {new.ends} and starts on {new.starts}."
        raise HoldIncomplete(rule, field="ends", remedy="Give a last day on or after the first.")


def check_account(new: PaymentAccount) -> None:
    """Raises AccountIncomplete."""
    if (new.iban is None) == (new.account is None):
        rule = "A payment account has either an IBAN or the number of an account without one."
        raise AccountIncomplete(rule, field="iban", remedy="Send one of `iban` and `account`.")
    if new.iban is not None and not _check_digits_fit(new.iban):
        raise AccountIncomplete(
            "The IBAN's check digits do not fit.", field="iban", remedy="Check it for a typing error."
        )


def _check_digits_fit(iban: str) -> bool:
    """ISO 13616: rearranged, with letters as numbers, it leaves 1 when divided by 97."""
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1

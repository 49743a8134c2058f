"""Entitlements on a real PostgreSQL: frozen at close, restated when what they are made from moves."""

from decimal import Decimal
from typing import Any

import pytest

from services.incentives.entitlements.store import Change, freeze, restate
from services.incentives.entitlements.versions import StoredAmountDiffers, content, versions
from shared.contracts.metrics import Rate, ReadingChanged
from shared.database.unit_of_work import unit_of_work
from shared.periods import Calendar, parse_period
from tests.integration.house import NOW, House, acme, component, house, score

__all__ = ["acme", "house"]

CALENDAR = Calendar("Asia/Shanghai")
Q1, Q2, Q4 = (parse_period(CALENDAR, label) for label in ("2025-Q1", "2025-Q2", "2025-Q4"))


def sold(value: str, version: int = 1, subject: str = "unit:shop", unit: str = "CNY") -> ReadingChanged:
    return ReadingChanged(
        metric="sales", subject=subject, period="2025-Q1", version=version, change=version, value=Decimal(value),
        unit=unit, recorded_at=NOW,
    )  # fmt: skip


def close(house: House, period: Any = Q1) -> None:
    with unit_of_work(house.runtime, actor="t") as uow:
        freeze(uow, "acme", period)


def recalculate(house: House, upto: Any = Q2) -> list[Change]:
    with unit_of_work(house.runtime, actor="t") as uow:
        return restate(uow, "acme", upto)


def amounts(house: House, payee: str = "person:wang", plan: str = "bonus") -> list[str]:
    """Every version's amount; each one's steps come to it."""
    with unit_of_work(house.runtime, actor="t", read_only=True) as uow:
        rows = versions(uow, "acme", payee, plan=plan)
        for row in rows:
            assert content(uow, "acme", row)["steps"]
    return [f"{row.amount.normalize():f}" for row in rows]


def test_closing_writes_version_one_and_closing_again_writes_nothing(acme: House) -> None:
    acme.arrive(score("90.8"))
    acme.assign("wang", "20000", starts="2025-02-15")
    acme.assign("li", "100")
    close(acme)
    acme.arrive(score("50", 2))
    close(acme)
    assert (amounts(acme), amounts(acme, "person:li")) == (["9080"], ["90.8"])


def test_a_late_change_restates_only_whom_it_moves_and_only_once(acme: House) -> None:
    acme.plan("other", component("other"))
    acme.arrive(score("90"), score("80", code="other"))
    acme.assign("wang")
    acme.assign("li", plan="other")
    close(acme)
    acme.arrive(score("95", 2))
    [change] = recalculate(acme)
    assert (change.payee, change.before, change.after, change.version) == ("person:wang", 9000, 9500, 2)
    assert recalculate(acme) == []
    acme.arrive(score("90", 3))
    acme.arrive(score("95", 4))
    # The same amount from another version of its driver is a version too, so that it cites what counts.
    assert recalculate(acme) == [Change("2025-Q1", "bonus", "person:wang", 3, "CNY", Decimal(9500), Decimal(9500))]
    assert amounts(acme)[:2] == ["9000", "9500"] and amounts(acme, "person:li", "other") == ["8000"]


def test_ten_corrections_in_one_cycle_are_one_version(acme: House) -> None:
    acme.arrive(score("90"))
    acme.assign("wang")
    close(acme)
    for version in range(2, 12):
        acme.arrive(score(str(90 + version), version))
    assert [change.after for change in recalculate(acme)] == [10100]


def test_a_period_after_the_run_is_left_alone(acme: House) -> None:
    acme.arrive(score("90", period="2025-Q2"))
    acme.assign("wang")
    close(acme, Q2)
    acme.arrive(score("95", 2, period="2025-Q2"))
    assert recalculate(acme, Q1) == []
    assert [change.after for change in recalculate(acme, Q2)] == [9500]


def test_late_assignments_and_those_that_end_earlier_restate_their_people_alone(acme: House) -> None:
    acme.arrive(score("100"))
    acme.assign("wang")
    acme.assign("li")
    close(acme)
    acme.assign("chen", "5000")
    acme.assign("li", starts="2025-04-01", correction=True, reason="Never began", expect=200)
    moved = {change.payee: (change.before, change.after) for change in recalculate(acme)}
    assert moved == {"person:chen": (0, 5000), "person:li": (10000, 0)}
    assert amounts(acme) == ["10000"]


def test_an_own_reading_restates_its_person_alone(acme: House) -> None:
    acme.plan("own", component("sales", driver={"kind": "reading", "code": "sales", "own": True}))
    for person in ("wang", "li"):
        acme.assign(person, plan="own")
    acme.arrive(sold("50", subject="person:wang"), sold("80", subject="person:li"))
    assert acme.total("wang") == "5000"
    close(acme)
    acme.arrive(sold("60", 2, subject="person:wang"))
    assert [(change.payee, change.after) for change in recalculate(acme)] == [("person:wang", 6000)]
    assert amounts(acme, "person:li", "own") == ["8000"]
    with unit_of_work(acme.runtime, actor="t", read_only=True) as uow:
        found = content(uow, "acme", versions(uow, "acme", "person:wang", plan="own")[-1])
    cited = [(cite["what"], cite.get("subject"), cite["version"]) for cite in found["inputs"]]
    assert ("reading", "person:wang", 2) in cited and ("assignment", None, 1) in cited


def test_somebody_without_own_reading_is_incomplete_not_paid_by_mistake(acme: House) -> None:
    acme.plan("own", component("sales", "0.5", driver={"kind": "reading", "code": "sales", "own": True}),
              component("yield", "0.5"))  # fmt: skip
    acme.assign("wang", plan="own")
    acme.arrive(score("100"))
    close(acme)
    assert amounts(acme, plan="own") == ["5000"]
    with unit_of_work(acme.runtime, actor="t", read_only=True) as uow:
        [row] = versions(uow, "acme", "person:wang", plan="own")
        assert content(uow, "acme", row)["missing"] == ["No reading of sales for the person in 2025-Q1 has come."]


def test_nothing_known_is_nothing_paid_with_its_reason_and_restated_when_it_comes(acme: House) -> None:
    acme.assign("wang")
    close(acme)
    acme.arrive(score("100"))
    recalculate(acme)
    assert amounts(acme) == ["0", "10000"]


def test_a_late_rate_restates_and_is_cited(acme: House) -> None:
    table = {"kind": "tiers", "mode": "whole", "tiers": [{"from": "0", "rate": "0.1"}]}
    driver = {"kind": "reading", "code": "sales", "subject": "unit:shop"}
    acme.plan("deal", component("sales", "0", driver=driver, curve=table))
    acme.assign("wang", "0", "deal")
    acme.arrive(sold("1000", unit="USD"))
    close(acme)
    acme.define("USD-CNY", Rate(from_currency="USD", to_currency="CNY", rate=Decimal("7.1")))
    assert [change.after for change in recalculate(acme)] == [710]


def test_a_sticky_override_survives_recalculation_until_it_is_withdrawn(acme: House) -> None:
    acme.arrive(score("90"))
    acme.assign("wang")
    decided = {"payee": "person:wang", "plan": "bonus", "period": "2025-Q1", "amount": "12345.67"}
    assert acme.put("overrides/o", decided, expect=422)["field"] == "reason"
    acme.put("overrides/o", decided | {"reason": "Saved the launch"})
    close(acme)
    acme.arrive(score("20", 2))
    recalculate(acme)
    assert set(amounts(acme)) == {"12345.67"}
    with unit_of_work(acme.runtime, actor="t", read_only=True) as uow:
        steps = content(uow, "acme", versions(uow, "acme", "person:wang", plan="bonus")[-1])["steps"]
    assert steps[-1]["how"] == "decided by pay: Saved the launch; replaces what was computed"
    assert steps[-2]["value"] == "2000"
    again = decided | {"reason": "A mistake", "amount": None, "correction": True}
    acme.put("overrides/o", again, expect=200)
    recalculate(acme)
    assert amounts(acme)[-1] == "2000"


def test_an_override_needs_no_assignment_but_a_plan_and_stands_alone(acme: House) -> None:
    body = {"payee": "partner:mill", "plan": "bonus", "period": "2025-Q1", "amount": "5", "reason": "Agreed"}
    assert acme.put("overrides/a", body | {"plan": "none"}, expect=422)["field"] == "plan"
    assert acme.put("overrides/a", body | {"amount": "5.001"}, expect=422)["field"] == "amount"
    acme.put("overrides/a", body)
    assert acme.put("overrides/b", body, expect=409)["other"] == "a"
    acme.put("overrides/b", body | {"period": "2025-Q2"})
    close(acme)
    assert amounts(acme, "partner:mill") == ["5"]


def test_after_the_window_nothing_is_taken_back_but_more_is_paid(acme: House) -> None:
    acme.plan("bonus", clawback_days=100, expect=200)
    acme.arrive(score("90"))
    acme.assign("wang")
    close(acme)
    acme.arrive(score("50", 2))
    assert [change.after for change in recalculate(acme, Q4)] == [9000]
    acme.arrive(score("95", 3))
    assert [change.after for change in recalculate(acme, Q4)] == [9500]


@pytest.mark.parametrize("window, after", [(91, 5000), (90, 9000)])  # the second quarter ends 91 days after the first
def test_within_the_window_it_is_taken_back(acme: House, window: int, after: int) -> None:
    acme.plan("bonus", clawback_days=window, expect=200)
    acme.arrive(score("90"))
    acme.assign("wang")
    close(acme)
    acme.arrive(score("50", 2))
    assert [change.after for change in recalculate(acme, Q2)] == [after]


@pytest.mark.parametrize("until, periods", [("2025-06-30", 2), ("2025-06-29", 1)])
def test_what_holds_until_a_day_counts_for_periods_that_end_by_it(acme: House, until: str, periods: int) -> None:
    acme.assign("wang", guarantee={"amount": "9500", "until": until})
    acme.assign("li")
    acme.put("overrides/o", {"payee": "person:li", "plan": "bonus", "period": "2025-Q1", "until": until,
                             "amount": "1", "reason": "Agreed."})  # fmt: skip
    for label in ("2025-Q1", "2025-Q2", "2025-Q3"):
        acme.arrive(score("90", period=label))
        close(acme, parse_period(CALENDAR, label))
    assert amounts(acme) == ["9500"] * periods + ["9000"] * (3 - periods)
    assert amounts(acme, "person:li") == ["1"] * periods + ["9000"] * (3 - periods)


def test_a_budget_is_shared_to_the_cent_and_moves_with_anybody(acme: House) -> None:
    acme.plan("bonus", budget={"amount": "100"}, expect=200)
    acme.arrive(score("100"))
    for person in ("wang", "li", "boss"):
        acme.assign(person, "50")
    assert [acme.total(person) for person in ("boss", "li", "wang")] == ["33.34", "33.33", "33.33"]
    close(acme)
    acme.assign("chen", "50")
    recalculate(acme)
    assert [amounts(acme, f"person:{who}")[-1] for who in ("boss", "chen", "li", "wang")] == ["25"] * 4


def test_a_budget_from_a_pool_waits_for_its_result(acme: House) -> None:
    saving = {"kind": "reading", "code": "sales", "subject": "unit:shop"}
    acme.put("pools/saved", {"name": "Saved", "period": "quarter", "currency": "CNY", "driver": saving, "share": "0.2"})
    acme.plan("bonus", budget={"pool": "saved", "distribute": "whole"}, expect=200)
    acme.arrive(score("100"))
    acme.assign("wang", "30")
    acme.assign("li", "10")
    assert acme.total("wang") is None
    acme.arrive(sold("1000"))
    assert (acme.total("wang"), acme.total("li")) == ("150", "50")
    close(acme)
    acme.arrive(sold("2000", 2))
    assert {change.payee: change.after for change in recalculate(acme)} == {"person:li": 100, "person:wang": 300}


def test_an_edited_amount_is_found_when_it_is_explained(acme: House) -> None:
    acme.arrive(score("90"))
    acme.assign("wang")
    close(acme)
    with unit_of_work(acme.runtime, actor="t") as uow:
        uow.run("UPDATE entitlement SET amount = 9001")
        with pytest.raises(StoredAmountDiffers, match="9001"):
            content(uow, "acme", versions(uow, "acme", "person:wang")[0])


def test_who_may_see_entitlements_and_decisions(acme: House) -> None:
    acme.arrive(score("90"))
    acme.assign("wang")
    close(acme)
    own = "people/wang/entitlements"
    why = {"payee": "person:wang", "period": "2025-Q1", "plan": "bonus"}
    for who, roles, status in (("wang", ("employee",), 200), ("boss", ("manager",), 200), ("li", ("employee",), 403),
                               ("x", ("auditor",), 200), ("x", ("analyst",), 403)):  # fmt: skip
        assert acme.call("GET", own, who, *roles).status_code == status
        assert acme.call("GET", "entitlements/explanation", who, *roles, params=why).status_code == status
    for path in ("overrides", "pools", "awards", "entitlements?period=2025-Q1"):
        assert acme.call("GET", path, "wang", "employee").status_code == 403, path
        assert acme.call("GET", path, "x", "finance").status_code == 200, path
    [view] = acme.get("entitlements", period="2025-Q1")["items"]
    assert (view["payee"], view["amount"], view["latest"]) == ("person:wang", "9000", True)


def test_a_verified_saving_takes_back_what_the_estimate_paid_too_much(acme: House) -> None:
    """Mechanism C1: 10 % of 300,000 estimated, 280,000 verified; 60:40 between two authors."""
    authors = [{"payee": "person:wang", "share": "0.6"}, {"payee": "person:li", "share": "0.4"}]
    idea = {"name": "Route", "period": "2025-Q1", "currency": "CNY", "base": "300000", "rate": "0.1",
            "participants": authors}  # fmt: skip
    acme.put("awards/route", idea)
    close(acme)
    acme.put("awards/route", idea | {"base": "280000", "correction": True, "reason": "Verified"}, expect=200)
    moved = {change.payee: (change.before, change.after) for change in recalculate(acme)}
    assert moved == {"person:li": (12000, 11200), "person:wang": (18000, 16800)}
    one = [{"payee": "person:wang", "share": "1"}]
    alone = idea | {"base": "280000", "participants": one, "correction": True, "reason": "One author"}
    acme.put("awards/route", alone, expect=200)
    assert {change.payee: change.after for change in recalculate(acme)} == {"person:li": 0, "person:wang": 28000}


def test_a_pool_that_is_shared_differently_or_earned_differently_is_restated(acme: House) -> None:
    saving = {"kind": "reading", "code": "sales", "subject": "unit:shop"}
    body = {"name": "Saved", "period": "quarter", "currency": "CNY", "driver": saving, "share": "0.2",
            "participants": [{"payee": payee, "share": "0.5"} for payee in ("person:wang", "company")]}  # fmt: skip
    acme.put("pools/saved", body)
    acme.arrive(sold("300000"))
    close(acme)
    acme.arrive(sold("-1", 2))
    assert [change.after for change in recalculate(acme)] == [0]
    acme.arrive(sold("100000", 3))
    assert [change.after for change in recalculate(acme)] == [10000]
    assert amounts(acme, plan="saved") == ["30000", "0", "10000"]


def test_a_policy_that_counts_for_a_closed_period_restates(acme: House) -> None:
    acme.plan("two", component("yield", "0.4"), component("other", "0.6"))
    acme.assign("wang", plan="two")
    acme.arrive(score("100"))
    close(acme)
    acme.put("policies/incomplete_total", {"value": "null", "correction": True, "reason": "As agreed"})
    assert [(change.before, change.after) for change in recalculate(acme)] == [(4000, 0)]


def test_a_plan_that_changes_after_the_closed_period_moves_nothing_in_it(acme: House) -> None:
    acme.arrive(score("90"))
    acme.assign("wang")
    close(acme)
    acme.plan("bonus", factor="2", effective_from="2025-04-01", expect=200)
    with unit_of_work(acme.runtime, actor="t", read_only=True) as uow:
        assert uow.value("SELECT count(*) FROM touched") == 0
    assert recalculate(acme) == [] and amounts(acme) == ["9000"]
    acme.plan("bonus", factor="2", effective_from="2025-03-31", correction=True, reason="Forgotten", expect=200)
    assert [change.after for change in recalculate(acme)] == [18000]

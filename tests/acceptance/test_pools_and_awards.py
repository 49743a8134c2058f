"""V6, C3, C1: what a saving, a premium or an idea brings is shared, to the cent, and verified later."""

from typing import Any

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop
from tests.acceptance.paying import close, entitled, recalculate, recompute

SHARES = [{"payee": "person:ann", "share": "0.6"}, {"payee": "person:bob", "share": "0.4"}]


def of(loop: Loop, payee: str, plan: str) -> Any:
    """A payee's latest entitlement with its calculation, which another program has computed again."""
    why = loop.get("incentives/entitlements/explanation", payee=payee, period="2025-Q1", plan=plan)
    assert recompute(why["steps"]) == why["entitlement"]["amount"]
    return why


def shipping(loop: Loop, cost: str, now: str) -> None:
    """Cost of shipping 100 m last year's and this year's first quarter, and what the fall of its rate saves."""
    loop.measured("cost", "CNY")
    loop.measured("shipped", "CNY")
    loop.metric("rate", "ratio", formula="cost / shipped")
    loop.metric("saving", "CNY", formula="(same_period_last_year(rate) - rate) * shipped")
    for day, spent in (("2024-02-15", cost), ("2025-02-15", now)):
        loop.observed("cost", spent, day)
        loop.observed("shipped", "100000000", day)
    close(loop, "2024-Q1")


def pool(loop: Loop, code: str, metric: str, share: str, participants: Any, **more: Any) -> None:
    driver = {"kind": "reading", "code": metric, "subject": "unit:company"}
    loop.put(f"incentives/pools/{code}", name=code, period="quarter", currency="CNY", driver=driver, share=share,
             participants=participants, **more)  # fmt: skip


@pytest.mark.mechanism("V6")
@pytest.mark.parametrize(("now", "ann", "bob"), [("2900000", "36000", "24000"), ("3300000", "0", "0")])
def test_a_fifth_of_what_shipping_cost_less_is_shared_and_a_rise_leaves_the_pool_empty(
    loop: Loop, now: str, ann: str, bob: str
) -> None:
    shipping(loop, "3200000", now)
    pool(loop, "shipping", "saving", "0.2", SHARES)
    close(loop, "2025-Q1")
    assert [entitled(loop, person)[0]["amount"] for person in ("ann", "bob")] == [ann, bob]
    values = {step["id"]: step["value"] for step in of(loop, "person:ann", "shipping")["steps"]}
    assert values["amount"] == ("60000" if ann != "0" else "0")


@pytest.mark.mechanism("C3")
def test_a_premium_of_a_million_is_shared_six_to_four_and_the_company_keeps_its_part(loop: Loop) -> None:
    loop.measured("revenue", "CNY")
    loop.measured("at_base_price", "CNY")
    loop.metric("premium", "CNY", formula="revenue - at_base_price")
    loop.observed("revenue", "11000000.00")
    loop.observed("at_base_price", "10000000.00")
    six_to_four = [{"payee": "company", "share": "0.6"}, {"payee": "partner:mill", "share": "0.4"}]
    pool(loop, "premium", "premium", "1", six_to_four)
    close(loop, "2025-Q1")
    why = of(loop, "partner:mill", "premium")
    assert why["entitlement"]["amount"] == "400000"
    assert why["steps"][-1]["of"][2:] == ["partner:mill", "company", "0.6", "partner:mill", "0.4"]
    listed = loop.get("incentives/entitlements", period="2025-Q1", plan="premium")["items"]
    assert [item["payee"] for item in listed] == ["partner:mill"]


@pytest.mark.mechanism("C3")
@pytest.mark.parametrize(("fabric", "paid"), [("30", "50000"), ("29.99", "0")])
def test_a_supplier_whose_fabric_makes_30_percent_of_sales_gets_the_innovation_award(
    loop: Loop, fabric: str, paid: str
) -> None:
    for code, value in (("fabric", fabric), ("sales", "100")):
        loop.measured(code, "CNY")
        loop.observed(code, value)
    loop.metric("fabric_share", "ratio", formula="fabric / sales")
    reached = {"driver": {"kind": "reading", "code": "fabric_share", "subject": "unit:company"}, "at_least": "0.3"}
    loop.put("incentives/awards/innovation", name="Innovation", period="2025-Q1", currency="CNY", amount="50000",
             condition=reached, participants=[{"payee": "partner:mill", "share": "1"}])  # fmt: skip
    close(loop, "2025-Q1")
    assert of(loop, "partner:mill", "innovation")["entitlement"]["amount"] == paid


@pytest.mark.mechanism("C1")
def test_an_idea_that_saves_300_000_pays_its_two_authors_18_000_and_12_000(loop: Loop) -> None:
    idea = {"name": "Shorter route", "period": "2025-Q1", "currency": "CNY", "base": "300000", "rate": "0.1",
            "participants": SHARES, "promised": "2025-04-30"}  # fmt: skip
    loop.put("incentives/awards/route", **idea)
    close(loop, "2025-Q1")
    assert [entitled(loop, person)[0]["amount"] for person in ("ann", "bob")] == ["18000", "12000"]
    with pytest.raises(ApiProblem) as caught:
        loop.put("incentives/awards/route", **idea | {"base": "280000"})
    assert caught.value.type == "date-closed"  # the estimate is closed; the verified saving corrects it
    loop.put("incentives/awards/route", **idea | {"base": "280000"}, correction=True, reason="Verified by finance")
    recalculate(loop)
    versions = [[view["amount"] for view in entitled(loop, person)] for person in ("ann", "bob")]
    assert versions == [["18000", "16800"], ["12000", "11200"]]  # 2,000 come back


@pytest.mark.mechanism("V6")
def test_shares_of_99_99_percent_are_refused_with_the_missing_part(loop: Loop) -> None:
    short = [{"payee": "person:ann", "share": "0.6"}, {"payee": "person:bob", "share": "0.3999"}]
    for share, missing in ((short, "0.01 % is missing"), (short[:1] * 2, None)):
        with pytest.raises(ApiProblem) as caught:
            pool(loop, "shipping", "saving", "0.2", share)
        assert caught.value.status == 422
        assert missing is None or missing in str(caught.value)


def test_a_pool_with_a_cap_and_a_condition(loop: Loop) -> None:
    shipping(loop, "3200000", "2900000")
    reached = {"driver": {"kind": "reading", "code": "shipped", "subject": "unit:company"}, "at_least": "100000001"}
    pool(loop, "capped", "saving", "0.2", SHARES, cap="50000.01")
    pool(loop, "missed", "saving", "0.2", SHARES, condition=reached)
    close(loop, "2025-Q1")
    amounts = {(item["plan"], item["payee"]): item["amount"]
               for item in loop.get("incentives/entitlements", period="2025-Q1")["items"]}  # fmt: skip
    assert amounts == {
        ("capped", "person:ann"): "30000.01", ("capped", "person:bob"): "20000",
        ("missed", "person:ann"): "0", ("missed", "person:bob"): "0",
    }  # fmt: skip


def test_a_special_effort_pays_once_or_every_time(loop: Loop) -> None:
    loop.person("ann", "company")
    loop.measured("deals", "pcs")
    loop.observed("deals", 3, subject="person:ann")
    count = {"kind": "reading", "code": "deals", "subject": "person:ann"}
    for code, times in (("once", "once"), ("each", "every_time")):
        loop.put(f"incentives/awards/{code}", name=code, period="2025-Q1", currency="CNY", amount="500", count=count,
                 times=times, participants=[{"payee": "person:ann", "share": "1"}])  # fmt: skip
    close(loop, "2025-Q1")
    assert {view["plan"]: view["amount"] for view in entitled(loop, "ann")} == {"each": "1500", "once": "500"}


def test_what_pays_has_a_code_of_its_own(loop: Loop) -> None:
    pool(loop, "bonus", "saving", "0.2", SHARES)
    with pytest.raises(ApiProblem) as caught:
        loop.put("incentives/awards/bonus", name="B", period="2025-Q1", currency="CNY", amount="1", participants=SHARES)
    assert (caught.value.type, caught.value.status) == ("code-taken", 409)

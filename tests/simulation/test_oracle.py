"""Stories played plainly, one act after the other, end in the numbers of the oracle; and the oracle notices what does
not."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from services.client import ApiProblem, ValueLoopClient
from shared.settings import Settings as ServiceSettings
from shared.telemetry import configure_logging
from tests.acceptance.conftest import Installation, running
from tests.simulation.actual import actual
from tests.simulation.oracle import Numbers, differences, expected
from tests.simulation.story import Act, Configure, Decide, Push, Settle, Tick, story

SEEDS = range(6)
LENGTH = 60


@pytest.fixture(scope="module")
def plainly(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    settings = ServiceSettings(
        data_directory=tmp_path_factory.mktemp("oracle"), settable_clock=True, partitions=2, poll_seconds=0.2,
        log_level="warning",
    )  # fmt: skip
    configure_logging(settings.log_level, json=False)
    with running(settings, postgres_url) as made:
        yield made


def played(installation: Installation, acts: Sequence[Act]) -> tuple[list[Act], Numbers]:
    """The acts that were accepted, and what the services then say."""
    companies = {act.company for act in acts if not isinstance(act, Settle)}
    clients = {company: installation.company(company).client for company in companies}
    accepted = [act for act in acts if _accepted(clients, act)]
    for client in clients.values():
        client.wait_until_settled()
    return accepted, actual(clients)


def _accepted(clients: dict[str, ValueLoopClient], act: Act) -> bool:
    if isinstance(act, Settle):
        next(iter(clients.values())).wait_until_settled()
        return True
    client = clients[act.company]
    try:
        match act:
            case Configure():
                client.put(f"/{act.service}/v1/{act.path}", dict(act.body))
            case Push():
                client.push([dict(event) for event in act.events])
            case Tick():
                client.post("/metrics/v1/ticks", {"at": act.at})
            case Decide():
                open_ones = client.items("/reviews/v1/cases", goal=act.goal, period=act.period)
                case = next((case for case in open_ones if case["status"] != "closed"), None)
                if case is None:
                    return False
                client.post(f"/reviews/v1/cases/{case['id']}/{act.what}", dict(act.body))
    except ApiProblem as problem:
        assert problem.status in (404, 409, 422), problem.document
        return False
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_a_story_ends_in_the_numbers_of_the_oracle(plainly: Installation, seed: int) -> None:
    accepted, found = played(plainly, story(seed, LENGTH))
    assert differences(expected(accepted), found) == []
    assert found.readings and found.scores and found.accruals


def test_one_amount_that_differs_is_named(plainly: Installation) -> None:
    accepted, found = played(plainly, [act for act in story(1000, LENGTH) if not isinstance(act, Decide)])
    pushes = [number for number, act in enumerate(accepted) if isinstance(act, Push)]
    lines = {line for n in pushes for line in differences(expected([*accepted[:n], *accepted[n + 1 :]]), found)}
    assert any(line.startswith("reading sim1000a/") and ": oracle " in line for line in lines), lines


def _small(company: str, *, goal: dict[str, object], target: dict[str, object] | None) -> list[Act]:
    """A company with one metric, and a goal `g1` on it."""

    def put(path: str, **body: object) -> Configure:
        service, _, rest = path.partition("/")
        return Configure(company, service, "PUT", rest, body)

    sold = {"metric": "sales", "value": "number(data.amount)", "subject": "'unit:company'", "key": "data.order"}
    out = {"metric": "sales", "subject": "'unit:company'", "key": "data.order", "effect": "retract"}
    above = {"name": "All", "owner_unit": "company", "starts": "2025-01-01", "status": "active"}
    acts = [
        put("goals/companies/company", name=company, currency="CNY", time_zone="Asia/Shanghai"),
        put("goals/units/company", name="Company", kind="company"),
        put("goals/policies/target_change", value="from_its_date"),
        put("metrics/metrics/sales", name="Sales", unit="CNY"),
        put("metrics/mappings/order", name="Order", event_type="order", observations=[sold]),
        put("metrics/mappings/cancel", name="Cancelled", event_type="cancel", observations=[out]),
        put("goals/goals/all", **above, period="quarter", contribution="sum"),
        put("goals/goals/all/targets", value="10", reason="Planned"),
        put("goals/goals/g1", **above | {"metric": "sales", "parent": "all"} | goal),
    ]
    return [*acts, *([put("goals/goals/g1/targets", value="20", reason="Planned", **target)] if target else [])]


def _event(company: str, type_: str, id: str, day: str, **data: str) -> Push:
    event = {"specversion": "1.0", "id": id, "source": "erp", "type": type_, "time": f"{day}T12:00:00Z", "data": data}
    return Push(company, (event,))


def test_a_month_that_was_emptied_hides_no_other_from_the_sum_above(plainly: Installation) -> None:
    acts = _small("emptied", goal={"period": "month"}, target=None)
    acts += [_event("emptied", "order", "1", "2025-01-10", order="a", amount="5"),
             _event("emptied", "order", "2", "2025-02-10", order="b", amount="7"), Settle(),
             _event("emptied", "cancel", "3", "2025-02-11", order="b")]  # fmt: skip
    accepted, found = played(plainly, acts)
    assert differences(expected(accepted), found) == []


def test_a_target_that_began_since_the_last_tick_is_judged(plainly: Installation) -> None:
    acts = _small("began", goal={"period": "quarter"}, target={"effective_from": "2025-02-15"})
    acts += [_event("began", "order", "1", "2025-01-10", order="a", amount="5"), Settle(),
             Tick("began", "2025-01-20T10:00:00Z"), Settle(), Tick("began", "2025-07-01T10:00:00Z")]  # fmt: skip
    accepted, found = played(plainly, acts)
    assert differences(expected(accepted), found) == []


def test_the_oracle_shares_no_code_with_the_services() -> None:
    here, reached, waiting = Path(__file__).parent, set[str](), ["oracle"]
    while waiting:
        if (name := waiting.pop()) not in reached:
            reached.add(name)
            for node in ast.walk(ast.parse((here / f"{name}.py").read_text())):
                found = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                assert not [each for each in found if each.split(".")[0] in ("services", "shared")], (name, found)
                waiting += [each.split(".")[2] for each in found if each.startswith("tests.simulation.")]
                if isinstance(node, ast.ImportFrom) and node.module == "tests.simulation":
                    waiting += [alias.name for alias in node.names]
    assert reached >= {"oracle", "acts", "cases", "dates", "expressions", "figures", "judged", "observed", "paid"}

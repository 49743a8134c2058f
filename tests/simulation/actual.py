"""The same numbers as the oracle's, read from the running system through its public HTTP API."""

from collections.abc import Mapping
from typing import Any

from services.client import ApiProblem, ValueLoopClient
from tests.simulation.acts import FIRST_DAY, LAST_DAY
from tests.simulation.dates import Calendar
from tests.simulation.oracle import Numbers

AROUND = {"from": "2023-01-01", "to": "2027-12-31"}


def actual(clients: Mapping[str, ValueLoopClient]) -> Numbers:
    """The numbers of each company, asked by a client that speaks for it with every role."""
    numbers = Numbers()
    for company, client in clients.items():
        _metrics(company, client, numbers)
        _goals(company, client, numbers)
        _incentives(company, client, numbers)
        _reviews(company, client, numbers)
    return numbers


def _codes(client: ValueLoopClient, path: str) -> dict[str, Any]:
    return {item["code"]: item["content"] for item in client.items(path)}


def _metrics(company: str, client: ValueLoopClient, numbers: Numbers) -> None:
    subjects = [f"unit:{code}" for code in _codes(client, "/goals/v1/units")]
    subjects += [f"person:{code}" for code in _codes(client, "/goals/v1/people")]
    for metric, content in _codes(client, "/metrics/v1/metrics").items():
        for subject in subjects:
            for kind in content["grains"]:
                query = AROUND | {"metric": metric, "subject": subject, "kind": kind}
                for found in client.get("/metrics/v1/readings/series", **query):
                    numbers.readings[company, metric, subject, found["period"]] = found["value"]
    for node in _codes(client, "/metrics/v1/nodes"):
        for found in _if_there(client, f"/metrics/v1/nodes/{node}/readings/series", **AROUND) or ():
            numbers.nodes[company, node, found["period"]] = found["ratio"]
    for found in client.items("/metrics/v1/waiting/summary"):
        numbers.waiting[company, found["reference"]] = str(found["events"])


def _if_there(client: ValueLoopClient, path: str, **query: Any) -> Any:
    """What is at a path; nothing where nothing is known of it yet."""
    try:
        return client.get(path, **query)
    except ApiProblem as problem:
        if problem.status != 404:
            raise
        return None


def _goals(company: str, client: ValueLoopClient, numbers: Numbers) -> None:
    for found in client.items("/goals/v1/scores"):
        into = numbers.scores if found["kind"] == "goal" else numbers.scorecards
        into[company, found["code"], found["period"]] = found["score"]


def _incentives(company: str, client: ValueLoopClient, numbers: Numbers) -> None:
    body = _codes(client, "/goals/v1/companies").get("company")
    if body is None:
        return
    calendar = Calendar(body["time_zone"], body["fiscal_year_start_month"])
    plans = _codes(client, "/incentives/v1/plans").values()
    people = {content["person"] for content in _codes(client, "/incentives/v1/assignments").values()}
    for kind in sorted({plan["period"] for plan in plans}):
        for span in calendar.between(kind, FIRST_DAY, LAST_DAY):
            for person in sorted(people):
                answer = _if_there(client, f"/incentives/v1/people/{person}/accruals", period=span.label)
                for found in answer["accruals"] if answer else ():
                    numbers.accruals[company, person, found["plan"], span.label] = found["total"]


def _reviews(company: str, client: ValueLoopClient, numbers: Numbers) -> None:
    for item in client.items("/reviews/v1/cases"):
        found = client.get(f"/reviews/v1/cases/{item['id']}")
        numbers.cases[company, found["goal"], found["period"]] = _told(found)


def _told(case: Mapping[str, Any]) -> str:
    status = f"closed: {case['closed_why']}" if case["status"] == "closed" else case["status"]
    words = [status, f"of {case['owner'] or 'nobody'}", f"target version {case['target_version']}"]
    words += [f"went to {case['escalated_to']}"] if case["escalated_to"] else []
    return ", ".join([*words, *(f"{each['kind']} {each['fate']}" for each in case["decisions"])])

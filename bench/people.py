"""Many people at once. They go straight into the tables, because measuring 100,000 PUTs is not what this is for."""

import json

import psycopg

from bench.installation import Installation

COPIES = ("goals", "metrics", "incentives", "reviews")  # the services that keep a copy of every person
_COLUMNS = "company, kind, code, version, effective_from, content, recorded_by, recorded_at"


def seed(at: Installation, company: str, people: int) -> None:
    """Person 1 to `people`, each assigned to the company's plan, as the services would have recorded them."""
    persons = [(f"p{n}", {"name": f"Person {n}", "unit": f"u{n % 20}", "manager": None}) for n in range(1, people + 1)]
    for service in COPIES:
        with psycopg.connect(at.database_of(service)) as connection:
            _settings(connection, company, "people", persons)
            if service == "incentives":
                _assignments(connection, company, [code for code, _ in persons])
        with psycopg.connect(at.database_of(service), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


def _settings(connection: psycopg.Connection, company: str, kind: str, settings: list) -> None:
    with connection.cursor().copy(f"COPY configuration ({_COLUMNS}) FROM STDIN") as copy:
        for code, content in settings:
            text = json.dumps({"effective_from": "0001-01-01", "reason": None, **content})
            copy.write_row((company, kind, code, 1, "0001-01-01", text, "bench", "2025-01-01T00:00:00Z"))


def _assignments(connection: psycopg.Connection, company: str, people: list[str]) -> None:
    same = {"plan": "plan", "amount": "10000", "starts": "2025-01-01", "ends": None, "share": "1", "factor": "1"}
    _settings(connection, company, "assignments", [(code, {"person": code, **same}) for code in people])
    columns = "company, code, effective_from, version, person, plan, amount, starts, share, factor"
    with connection.cursor().copy(f"COPY assignment ({columns}) FROM STDIN") as copy:
        for code in people:
            copy.write_row((company, code, "0001-01-01", 1, code, "plan", "10000", "2025-01-01", "1", "1"))

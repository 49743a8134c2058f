"""Money: a quarter closed, everybody paid and told why, and statements read. Each ends by checking what it timed."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from bench import company, load, payees
from bench.installation import EVERY_ROLE, Installation, NotDone
from bench.measure import Figure, percentile
from bench.scenarios import MANY, Company, Say, _batches
from services.client import ValueLoopClient
from tools.check_statement import check

RUN, LONGEST = "/incentives/v1/payout-runs", 7200
MOST_SUPPOSED = 100_000  # people of a preview: it answers within a request
_keys = count(1)


def order(client: ValueLoopClient, path: str, body: Any) -> Any:
    return client.post(path, body, **{"Idempotency-Key": f"bench-{next(_keys)}"})


def all_of(at: Installation, people: int, readings: int, say: Say) -> list[Figure]:
    """Every measurement."""
    return [*closed(at, readings, say), *supposed(at, min(people, MOST_SUPPOSED), say), *paid(at, people, say)]


def paid(at: Installation, people: int, say: Say) -> list[Figure]:
    """Closes a quarter, calculates, approves and releases a run for so many people with five components each."""
    bench = _with_payees(at, "payees", people, say)
    client, approver = bench.client, bench.client.as_(at.issuer.issue("approver", bench.name, EVERY_ROLE))
    say("Closing the quarter.")
    _time_reaches(client, "2025-04-02")
    seconds = {"close": _timed(lambda: close(client, company.PERIOD))}
    run = {"code": "q1", "period": company.PERIOD, "currency": "CNY", "promised": "2025-04-30"}
    order(client, RUN, run)
    say("Calculating.")
    seconds["calculate"] = _timed(lambda: _step(client, "calculations", {}, "calculated"))
    order(client, f"{RUN}/q1/submissions", {})
    order(approver, f"{RUN}/q1/approvals", {"hash": client.get(f"{RUN}/q1")["hash"]})
    say("Releasing: ledger, events, statements.")
    seconds["release"] = _timed(lambda: _step(approver, "releases", {}, "released"))
    peak = max(_peak(child) for child in at.supervisor.children[1:])
    say("Comparing each amount; DuckDB and COPY.")
    scores = {goal: _score(bench, goal) for goal in payees.GOALS}
    lines, paid_out = payees.checked(at, bench.name, scores)
    computed, copied, cents = payees.floor(at, bench.name, scores)
    if (lines, paid_out) != (people, cents):
        raise NotDone(f"{lines} lines pay {paid_out} cents; DuckDB says {cents} for {people}.")
    both = computed + copied
    note = f"{people:,} people × 5 components, each checked; floor: DuckDB {computed:.2f} s + COPY {copied:.2f} s"
    figures = [
        Figure(f"payout run: {phase}", people / took, "1/s", people / both, f"{took:,.1f} s; {note}")
        for phase, took in seconds.items()
    ]
    whole = sum(seconds.values())
    note = f"{whole:,.1f} s; a worker's peak: {peak:,} MB; {note}"
    figures.append(Figure("payout run: all", people / whole, "1/s", people / both, note))
    return [*figures, *_read(bench, people, say)]


def _with_payees(at: Installation, name: str, people: int, say: Say) -> Company:
    bench = Company(at, f"{name}-{people}")
    say(f"{people:,} people with an assignment and two readings of their own are put into the tables.")
    _set_up(bench)
    payees.seed(at, bench.name, company.PERIOD, people)
    return bench


def supposed(at: Installation, people: int, say: Say) -> list[Figure]:
    """A preview of a plan that pays everybody a tenth more, beside DuckDB's arithmetic of both plans."""
    bench = _with_payees(at, "supposed", people, say)
    say(f"Previewing a change of the plan of {people:,} people.")
    command = {"setting": "plans", "code": payees.PLAN, "content": payees.plan("1.1")}
    path, told = f"/incentives/v1/previews?period={company.PERIOD}&limit=0", list[Any]()
    took = _timed(lambda: told.append(bench.client.post(path, {"commands": [command]})))
    scores = {goal: _score(bench, goal) for goal in payees.GOALS}
    before, after = (payees.floor(bench.at, bench.name, scores, tenths) for tenths in (10, 11))
    [total] = told[0]["totals"]
    if (Decimal(total["before"]) * 100, Decimal(total["after"]) * 100) != (before[2], after[2]):
        raise NotDone(
            f"The preview says {total['before']} and {total['after']}, DuckDB {before[2]} and {after[2]} cents."
        )
    bare = before[0] + after[0]
    note = f"{took:,.1f} s; {people:,} people × 5 components, twice; floor: DuckDB's arithmetic of both, {bare:.2f} s"
    return [Figure("preview of a company-wide change", people / took, "1/s", people / bare, note)]


def closed(at: Installation, count_: int, say: Say) -> list[Figure]:
    """Closes a month with so many readings in metrics, goals and incentives."""
    bench = Company(at, f"readings-{count_}")
    say(f"Closing a month with {count_:,} readings.")
    _set_up(bench)
    payees.readings(at, bench.name, count_)
    bare = _timed(lambda: payees.read_bare(at, bench.name))
    _time_reaches(bench.client, "2025-02-02")
    asked = datetime.now(UTC)
    took = _timed(lambda: close(bench.client, payees.MONTH))
    parts = ", ".join(
        f"{one['service']} after {(datetime.fromisoformat(one['recorded_at']) - asked).total_seconds():.2f} s"
        for one in bench.client.get(f"/metrics/v1/periods/{payees.MONTH}")["services"]
    )
    note = f"{count_:,} readings in three services; {parts}; floor: the same rows read in order by COPY"
    return [Figure("close of a month", took * 1000, "ms", bare * 1000, note)]


def _set_up(bench: Company) -> None:
    client = bench.client
    company.set_up(client, bench.name)
    for goal in payees.GOALS:
        client.put(f"/goals/v1/goals/{goal}/targets", company.target(550_000 if goal == "company" else 27_000))
    client.put("/incentives/v1/policies/without_account", {"value": "pay"})
    client.put(f"/incentives/v1/plans/{payees.PLAN}", payees.plan())
    load.post(bench.at.host, bench.at.port, client.token, MANY, _batches(company.events(bench.name, 1_000).bodies), 1)
    client.wait_until_settled()


def _time_reaches(client: ValueLoopClient, day: str) -> None:
    client.post("/metrics/v1/ticks", {"at": f"{day}T00:00:00+08:00"})
    client.wait_until_settled()


def close(client: ValueLoopClient, period: str) -> None:
    """Closes a period, whatever is missing."""
    order(client, f"/metrics/v1/periods/{period}/close", {"override": "For the measurement."})
    _until(lambda: client.get(f"/metrics/v1/periods/{period}")["state"] == "closed")


def _step(client: ValueLoopClient, what: str, body: Any, wanted: str) -> None:
    order(client, f"{RUN}/q1/{what}", body)
    _until(lambda: (now := client.get(f"{RUN}/q1"))["status"] == wanted or _failed(now))


def _failed(run: Any) -> bool:
    if run["problem"]:
        raise NotDone(run["problem"])
    return False


def _until(done: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not done():
        waited = time.monotonic() - started
        if waited > LONGEST:
            raise NotDone(f"It was not done within {LONGEST} s.")
        time.sleep(0.02 + waited / 50)  # asking costs time too: a run counts its lines


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _score(bench: Company, goal: str) -> Decimal:
    [found] = bench.get(f"/incentives/v1/drivers?kind=goal&code={goal}&period={company.PERIOD}")["items"]
    return Decimal(found["value"])


def _peak(child: Any) -> int:
    """The most memory that a process ever had [MB]."""
    status = Path(f"/proc/{child.process.pid}/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


# --- statements ---


def _read(bench: Company, people: int, say: Say) -> list[Figure]:
    """Statements by HTTP, one after another; the floor is the row's primary key."""
    say("Reading statements.")
    codes = [f"p{1 + number * 7919 % people}" for number in range(300)]
    with psycopg.connect(bench.at.database_of("incentives"), autocommit=True) as connection:
        sql = "SELECT content FROM statement WHERE company = %s AND payee = %s AND number = 1"
        bare = [_ms(lambda c=c: connection.execute(sql, (bench.name, f"person:{c}")).fetchone()) for c in codes]
    path, answers = "/incentives/v1/people/{}/statements/1", list[Any]()
    times = {"JSON": [_ms(lambda c=c: answers.append(bench.get(path.format(c)))) for c in codes]}
    if found := check(answers):
        raise NotDone(found[0])
    for kind, some in (("html", codes[:100]), ("pdf", codes[:30])):
        times[kind.upper()] = [_ms(lambda c=c, k=kind: _page(bench, f"{path.format(c)}?format={k}")) for c in some]
    return [
        Figure(f"statement as {kind}, p{share * 100:.0f}", percentile(took, share), "ms", percentile(bare, share),
               f"n = {len(took)}, checked; floor: SELECT of its row by key")
        for kind, took in times.items() for share in (0.5, 0.99)
    ]  # fmt: skip


def _page(bench: Company, path: str) -> None:
    connection: HTTPConnection = bench._connection
    connection.request("GET", path, headers=bench._headers)
    answer = connection.getresponse()
    if answer.status != 200 or not answer.read():
        raise NotDone(f"{path} answers {answer.status}.")


def _ms(work: Callable[[], Any]) -> float:
    return _timed(work) * 1000

"""The measurements themselves. Each ends by checking that what it timed was really done."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any

from bench import company, floors, load
from bench.installation import Installation, NotDone
from bench.measure import Figure, median, percentile
from bench.people import seed

ONE, MANY = "application/cloudevents+json", "application/cloudevents-batch+json"
CLIENTS, BATCH = 64, 500
WARM = 5  # the first times warm caches up, and are not counted
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: bounded, so that a run takes minutes at most."""

    singles: int
    batched: int
    rippled: int
    ripples: int
    people: int
    few: int
    changes: int
    seconds: int
    carried: int
    payees: int
    readings: int


FULL = Size(10_000, 60_000, 30_000, 100, 100_000, 1_000, 20, 5, 100_000, 1_000_000, 100_000)
QUICK = Size(3_000, 15_000, 10_000, 20, 10_000, 1_000, 6, 2, 20_000, 10_000, 10_000)


class Company:
    """A company under measurement, and a connection that costs little."""

    def __init__(self, at: Installation, name: str) -> None:
        self.at, self.name, self.client = at, name, at.client(name)
        self._connection = HTTPConnection(at.host, at.port, timeout=30)
        self._headers = {"authorization": f"Bearer {self.client.token}"}

    def get(self, path: str) -> Any:
        """Reads; once more on a new connection, where the server has closed one that had long been silent."""
        try:
            self._connection.request("GET", path, headers=self._headers)
            return self._read(200)
        except (RemoteDisconnected, ConnectionError):
            self._connection.close()
            self._connection.request("GET", path, headers=self._headers)
            return self._read(200)

    def send(self, method: str, path: str, body: bytes, kind: str = "application/json") -> Any:
        self._connection.request(method, path, body, self._headers | {"content-type": kind})
        return self._read(200, 202)

    def _read(self, *wanted: int) -> Any:
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status not in wanted:
            raise NotDone(body.decode(errors="replace"))
        return json.loads(body)

    def accrual(self, person: str = "p0") -> str | None:
        found = self.get(f"/incentives/v1/people/{person}/accruals?period={company.PERIOD}")["accruals"]
        total: str | None = found[0]["total"] if found else None
        return total

    def driver_version(self) -> int:
        found = self.get(f"/incentives/v1/drivers?kind=goal&code=company&period={company.PERIOD}")["items"]
        return int(found[0]["version"]) if found else 0

    def revenue(self) -> Decimal:
        """What has reached goals as the company's revenue."""
        found = self.get(f"/goals/v1/scores?goal=company&period={company.PERIOD}")["items"]
        return Decimal(found[0]["actual"] or 0) if found else Decimal(0)

    def expect_revenue(self, revenue: Decimal) -> None:
        if (found := self.revenue()) != revenue:
            raise NotDone(f"Revenue reads {found} and should be {revenue}.")


def all_of(at: Installation, size: Size, say: Say) -> list[Figure]:
    """Every measurement, in an order in which none disturbs the next."""
    say("Floors: commits, hops and COPY of PostgreSQL alone.")
    floors.prepare(at.database)
    bare = floors.commits(at.database, 32, size.seconds)
    one_by_one = company.events("single", size.singles)
    in_batches = company.events("batch", size.batched)
    copied = floors.copy(at.database, in_batches.ids, in_batches.bodies)
    commit, hop = floors.commit_times(at.database, 500), floors.hop_times(at.database, 500)
    bench = Company(at, "bench")
    company.set_up(bench.client, "bench")
    bench.client.wait_until_settled()
    soon = idle(bench, size, commit, hop, say)
    return [
        *intake(bench, one_by_one, in_batches, bare, copied, say),
        *rippled(bench, size, copied, say),
        *soon,
        *changes(at, size, commit, say),
    ]


# --- (a) and (b): how much ---


def intake(
    bench: Company, one_by_one: company.Events, in_batches: company.Events, bare: float, copied: float, say: Say
) -> list[Figure]:
    """Intake alone, with the workers stopped; then the workers alone, on what has piled up."""
    at, token = bench.at, bench.client.token
    at.stop_workers()
    say(f"Intake of {len(one_by_one.ids):,} events one by one, then {len(in_batches.ids):,} in batches of {BATCH}.")
    single = load.post(at.host, at.port, token, ONE, one_by_one.bodies, CLIENTS)
    batched = load.post(at.host, at.port, token, MANY, _batches(in_batches.bodies), 4)
    count = len(one_by_one.ids) + len(in_batches.ids)
    say(f"Workers: {count:,} events that are in the log already.")
    before = bench.revenue()
    seconds = at.start_workers(bench.client)
    bench.client.wait_until_settled(timeout=300, interval=0.1)
    seconds = time.perf_counter() - seconds
    bench.expect_revenue(before + one_by_one.revenue + in_batches.revenue)
    rate = len(one_by_one.ids) / single.seconds
    copy_note = f"floor: COPY of the same rows, unique index, {floors.TOGETHER:,} a transaction"
    return [
        Figure("intake, one event per POST", rate, "1/s", bare, f"{CLIENTS} clients; floor: single-row commits, 32"),
        Figure("  the same", rate, "1/s", copied, copy_note),
        Figure("  its answer, p99", percentile(single.times, 0.99), "ms", None, f"{CLIENTS} clients"),
        Figure(f"intake, batches of {BATCH}", len(in_batches.ids) / batched.seconds, "1/s", copied, copy_note),
        Figure("worker: map, fold, derive, score", count / seconds, "1/s", copied, f"{count:,} waiting; {copy_note}"),
    ]


def rippled(bench: Company, size: Size, copied: float, say: Say) -> list[Figure]:
    """Batches pushed while the workers run, until everything they cause has come to rest in all services."""
    found = company.events("rippled", size.rippled)
    say(f"Batches of {BATCH}, {size.rippled:,} events, until they have rippled through.")
    before = bench.revenue()
    started = time.perf_counter()
    load.post(bench.at.host, bench.at.port, bench.client.token, MANY, _batches(found.bodies), 4)
    bench.client.wait_until_settled(timeout=300, interval=0.1)
    seconds = time.perf_counter() - started
    bench.expect_revenue(before + found.revenue)
    note = f"{size.rippled:,}, accepted and rippled; floor: the same COPY"
    return [Figure(f"batches of {BATCH}, rippled", size.rippled / seconds, "1/s", copied, note)]


def _batches(bodies: Any) -> list[bytes]:
    return [b"[" + b",".join(bodies[i : i + BATCH]) + b"]" for i in range(0, len(bodies), BATCH)]


# --- (c): how soon ---


def idle(bench: Company, size: Size, commit: list[float], hop: list[float], say: Say) -> list[Figure]:
    """From before the POST of an event until the accrual that it moves can be read, nothing else going on."""
    times = ripples(bench, size.ripples, say)
    figures = []
    for share in (0.5, 0.99):
        three = 3 * percentile(commit, share) + 3 * percentile(hop, share)
        note = f"n = {len(times)}; floor: 3 commits and 3 hops of a log"
        name = f"POST → accrual readable, p{share * 100:.0f}"
        figures.append(Figure(name, percentile(times, share), "ms", three, note))
    bare = percentile(commit, 0.5)
    figures.append(Figure("  the same, p50", percentile(times, 0.5), "ms", bare, "floor: one single-row commit, p50"))
    return figures


def ripples(bench: Company, times: int, say: Say) -> list[float]:
    """So many times, one after another [ms]."""
    say(f"From POST to readable accrual, {times} times, idle.")
    found = company.events("idle", times + WARM)
    took = [_ripple(bench, body) for body in found.bodies][WARM:]
    bench.client.wait_until_settled()
    bench.expect_revenue(found.revenue)
    return took


def _ripple(bench: Company, body: bytes) -> float:
    before = bench.accrual()
    started = time.perf_counter()
    bench.send("POST", "/metrics/v1/events", body, ONE)
    until(lambda: bench.accrual() != before)
    return (time.perf_counter() - started) * 1000


def until(done: Callable[[], Any], seconds: float = 30, pause: float = 0.001) -> None:
    """Looks again after each pause [s]. Raises NotDone."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise NotDone(f"It was not done within {seconds:g} s.")
        time.sleep(pause)


# --- (d): how far ---


def changes(at: Installation, size: Size, commit: list[float], say: Say) -> list[Figure]:
    """A new target of the company, with many people's bonuses hanging on it and with few."""
    companies = {}
    for people in (size.few, size.people):
        say(f"A company-level change with {people:,} people assigned.")
        one = companies[people] = Company(at, f"people-{people}")
        company.set_up(one.client, one.name)
        seed(at, one.name, people)
        load.post(at.host, at.port, one.client.token, MANY, _batches(company.events(one.name, 1_000).bodies), 1)
        one.client.wait_until_settled()
    # In turns, so that whatever else the machine does falls on both.
    times: dict[int, list[tuple[float, float, float]]] = {people: [] for people in companies}
    for number in range(size.changes + 2):
        for people, one in companies.items():
            times[people].append(_change(one, 900_000_000 - number * 1_000_000, f"p{people // 2}"))
    few, many = ([list(column) for column in zip(*found[2:], strict=True)] for found in times.values())
    return _change_figures(few, many, size, percentile(commit, 0.5))


def _change(one: Company, value: int, person: str) -> tuple[float, float, float]:
    """Times until the driver has its new version, until a person's accrual reads it, and of one such read [ms]."""
    version, before = one.driver_version(), one.accrual(person)
    body = json.dumps(company.target(value)).encode()
    started = time.perf_counter()
    one.send("PUT", "/goals/v1/goals/company/targets", body)
    until(lambda: one.driver_version() > version)
    driver = time.perf_counter()
    after = one.accrual(person)
    read = time.perf_counter()
    if after == before:
        raise NotDone(f"The driver moved, and the accrual of {person} still is {before}.")
    return (driver - started) * 1000, (read - started) * 1000, (read - driver) * 1000


def _change_figures(few: list[list[float]], many: list[list[float]], size: Size, commit: float) -> list[Figure]:
    beside = f"{size.people:,} people (put there by COPY); floor: the same with {size.few:,}; medians of {size.changes}"
    names = ("new target → driver's new version", "new target → a person's accrual", "reading one person's accrual")
    figures = [
        Figure(name, median(these), "ms", median(those), beside)
        for name, these, those in zip(names, many, few, strict=True)
    ]
    note = f"{size.people:,} people; floor: one single-row commit, p50"
    return [*figures, Figure("  new target → driver, beside a commit", median(many[0]), "ms", commit, note)]

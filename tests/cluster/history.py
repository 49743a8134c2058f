"""What clients saw: every acknowledged write and every number read, in the order in which each of them saw it."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.cluster.company import METRICS, PERIOD, UNITS, Event
from tests.cluster.harness import Client

Number = tuple[str, ...]  # what it is: ("reading", metric, subject), ("score", kind, code), ("driver", …)


@dataclass
class History:
    """Shared by all clients. Times are monotonic [s]."""

    written: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By event id: the place that its first receipt names."""
    accepted: int = 0
    duplicates: int = 0
    moved: list[str] = field(default_factory=list)
    """Events that two receipts put in two places, or that were refused."""
    answers: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By service: when it answered."""
    reads: int = 0
    backwards: list[str] = field(default_factory=list)
    """Numbers that were seen to go back to an older version, or to differ within one version."""
    failed: list[BaseException] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wrote(self, receipts: Iterable[dict[str, Any]]) -> None:
        with self._lock:
            self.answers["metrics"].append(time.monotonic())
            for receipt in receipts:
                self.accepted += receipt["status"] == "accepted"
                self.duplicates += receipt["status"] == "duplicate"
                place = receipt.get("position") or {}
                at = (place.get("partition", -1), place.get("pos", -1))
                if receipt["status"] not in ("accepted", "duplicate"):
                    self.moved.append(f"{receipt}")
                elif self.written.setdefault(receipt["id"], at) != at:
                    self.moved.append(f"{receipt['id']}: {self.written[receipt['id']]}, then {at}")

    def answered(self, service: str) -> None:
        with self._lock:
            self.reads += 1
            self.answers[service].append(time.monotonic())


@dataclass
class Load:
    """Several senders, which push batches at an even pace and again, with the same ids, where they got no answer.

    Args:
        seconds: over how long; what an outage holds up is sent as fast as it goes afterwards.
        allowed: which part may be sent by now [ratio]; raised from outside, so that there is load until the end.
    """

    make: Callable[[], Client]
    history: History
    batches: Iterator[Sequence[Event]]
    count: int
    seconds: float
    allowed: Fraction = Fraction(1)
    senders: int = 3

    def __post_init__(self) -> None:
        self._lock, self._taken = threading.Lock(), 0
        self.threads = [threading.Thread(target=self._send, daemon=True) for _ in range(self.senders)]

    def start(self) -> "Load":
        self._began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def wait(self) -> None:
        """Until everything is acknowledged. Raises what a sender could not live with."""
        for thread in self.threads:
            thread.join()
        if self.history.failed:
            raise self.history.failed[0]

    def sending(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def _send(self) -> None:
        client = self.make()
        try:
            while (batch := self._next()) is not None:
                bodies = [event.body for event in batch]
                self.history.wrote(client.push_encoded(bodies))
                if self._taken % 20 == 0:  # as if the answer had been lost
                    self.history.wrote(client.push_encoded(bodies))
        except BaseException as error:
            self.history.failed.append(error)

    def _next(self) -> Sequence[Event] | None:
        with self._lock:
            batch = next(self.batches, None)
            number, self._taken = self._taken, self._taken + 1
        if batch is not None:
            time.sleep(max(0.0, self._began + self.seconds * number / self.count - time.monotonic()))
            while number >= self.count * self.allowed:
                time.sleep(0.1)
        return batch


class Reader:
    """One client that reads every number again and again, and notes where one went back."""

    def __init__(self, client: Client, history: History) -> None:
        self.client, self.history = client, history
        self.seen: dict[Number, tuple[int, str]] = {}
        self._done = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "Reader":
        self.thread.start()
        return self

    def stop(self) -> None:
        self._done.set()
        self.thread.join()

    def _run(self) -> None:
        try:
            while not self._done.is_set():
                self.look()
        except BaseException as error:
            self.history.failed.append(error)

    def look(self) -> None:
        """Reads everything once."""
        for service, numbers in self._numbers():
            self.history.answered(service)
            for number, version, content in numbers:
                self._note(number, version, json.dumps(content, sort_keys=True))

    def _note(self, number: Number, version: int, content: str) -> None:
        before, was = self.seen.get(number, (0, ""))
        if version < before or (version == before and content != was):
            self.history.backwards.append(f"{number}: {before} {was}, then {version} {content}")
        self.seen[number] = (version, content)

    def _numbers(self) -> Iterator[tuple[str, list[tuple[Number, int, Any]]]]:
        begins = {"from": "2025-01-01", "to": "2025-01-01"}
        for metric in METRICS:
            for unit in ("company", *UNITS):
                place = {"metric": metric, "subject": f"unit:{unit}", "kind": "quarter"}
                found = self.client.get("/metrics/v1/readings/series", **place, **begins)
                yield "metrics", [(("reading", metric, unit), r["version"], r["value"]) for r in found]
        found = self.client.get("/goals/v1/scores", period=PERIOD, limit=200)["items"]
        yield "goals", [(("score", s["kind"], s["code"]), s["version"], s["score"]) for s in found]
        found = self.client.get("/incentives/v1/drivers", period=PERIOD, limit=200)["items"]
        yield "incentives", [(("driver", d["kind"], d["code"]), d["version"], d["value"]) for d in found]
        self.client.get("/reviews/v1/cases")
        yield "reviews", []

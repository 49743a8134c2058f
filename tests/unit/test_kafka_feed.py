"""What a reader makes of what Kafka delivers: repeats, gaps, foreign records, other epochs, retention."""

from collections import namedtuple
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka.errors import OffsetOutOfRangeError

from shared.log import Record
from shared.log.forward import encode
from shared.log.kafka import Cluster, KafkaFeed, NoChecksums, decode
from shared.log.position import GapInLog, LogReplaced, Position
from shared.settings import Settings

PLACE = ("toy.words", 0)
Raw = namedtuple("Raw", "offset value headers")


def record(pos: int, epoch: str = "e1", **more: Any) -> Record:
    at = datetime(2025, 3, 1, 12, tzinfo=UTC)
    return Record(*PLACE, pos, "key", "toy.said.v1", "acme", f'{{"n":{pos}}}', None, at, epoch=epoch, **more)


def raw(offset: int, pos: int, epoch: str = "e1") -> Raw:
    _, value, headers = encode(record(pos, epoch), "toy")
    return Raw(offset, value, headers)


class Partition:
    """A consumer of one partition that delivers at most `chunk` records a poll."""

    def __init__(self, *records: Raw, chunk: int = 100) -> None:
        self.log, self.chunk, self.at, self.paused, self.committed = list(records), chunk, 0, False, {}

    def assign(self, _partitions: list[Any]) -> None: ...

    def seek(self, _partition: Any, offset: int) -> None:
        self.at = offset

    def seek_to_beginning(self, *_partitions: Any) -> None:
        self.at = 0

    def pause(self, *_partitions: Any) -> None:
        self.paused = True

    def resume(self, *_partitions: Any) -> None:
        self.paused = False

    def poll(self, timeout_ms: int, max_records: int) -> Mapping[Any, Sequence[Any]]:
        if self.paused:
            return {}
        if self.log and self.at < self.log[0].offset:
            raise OffsetOutOfRangeError(self.at)
        came = [one for one in self.log if one.offset >= self.at][: min(max_records, self.chunk)]
        self.at = came[-1].offset + 1 if came else self.at
        return {Names.partition(PLACE): came} if came else {}

    def highwater(self, _partition: Any) -> int:
        return self.log[-1].offset + 1 if self.log else 0

    def commit_async(self, offsets: Mapping[Any, Any]) -> None:
        self.committed = dict(offsets)

    def close(self, **_options: Any) -> None: ...


class Names:
    @staticmethod
    def partition(place: Any) -> Any:
        return place


def feed(consumer: Partition, ahead: int = 1000) -> KafkaFeed:
    return KafkaFeed(Names, consumer, ahead)


def read_all(made: KafkaFeed, position: Position, limit: int = 2) -> tuple[list[int], Position]:
    """Reads as a worker does: asks, applies, moves."""
    applied: list[int] = []
    for _ in range(20):
        if PLACE in made.waiting({PLACE: position}) and (found := made.read(PLACE, position, limit)):
            applied += [one.pos for one in found]
            position = position.after(found)
    return applied, position


def test_a_record_comes_back_as_it_was_sent() -> None:
    sent = record(7, offset=3, copies=4)
    _, value, headers = encode(sent, "toy")
    assert decode(PLACE, Raw(3, value, headers)) == sent


def test_repeats_are_applied_once_and_in_order() -> None:
    offsets = enumerate([0, 1, 2, 1, 2, 3, 0, 4])
    applied, position = read_all(feed(Partition(*(raw(at, pos) for at, pos in offsets), chunk=3)), Position("", 0))
    assert applied == [0, 1, 2, 3, 4]
    assert position == Position("e1", 5, 8)


def test_a_gap_applies_nothing_until_what_is_missing_comes_again() -> None:
    consumer = Partition(raw(0, 0), raw(1, 3))
    made = feed(consumer)
    with pytest.raises(GapInLog, match="expected record 1, the log has 3"):
        read_all(made, Position("", 0))
    consumer.log += [raw(2, 1), raw(3, 2), raw(4, 3)]
    assert read_all(made, Position("e1", 1, 1))[0] == [1, 2, 3]


def test_a_gap_in_the_middle_of_what_is_delivered_is_no_error() -> None:
    consumer = Partition(raw(0, 0), raw(1, 3), raw(2, 1), raw(3, 2), raw(4, 3), chunk=2)
    assert read_all(feed(consumer), Position("", 0))[0] == [0, 1, 2, 3]


def test_reading_moves_nothing_and_a_lower_position_is_read_again() -> None:
    made = feed(Partition(*(raw(n, n) for n in range(6))))
    at = Position("e1", 2, 2)
    made.waiting({PLACE: at})
    assert [one.pos for one in made.read(PLACE, at, 3)] == [2, 3, 4] == [one.pos for one in made.read(PLACE, at, 3)]
    assert read_all(made, Position("e1", 5, 5))[0] == [5]
    assert read_all(made, Position("e1", 1, 1))[0] == [1, 2, 3, 4, 5]


def test_an_unknown_offset_starts_at_the_beginning_and_drops_what_is_applied() -> None:
    assert read_all(feed(Partition(*(raw(n, n) for n in range(5)))), Position("e1", 3, None))[0] == [3, 4]


def test_a_full_memory_pauses_the_partition_and_loses_nothing() -> None:
    consumer = Partition(*(raw(n, n) for n in range(50)), chunk=10)
    made = feed(consumer, ahead=15)
    at = Position("e1", 0, 0)
    for _ in range(10):
        made.waiting({PLACE: at})
    assert consumer.paused
    applied: list[int] = []
    while at.next_pos < 50:
        made.waiting({PLACE: at})
        found = made.read(PLACE, at, 7)
        applied += [one.pos for one in found]
        at = at.after(found) if found else at
    assert applied == list(range(50))


def test_a_foreign_record_is_passed_over() -> None:
    consumer = Partition(raw(0, 0), Raw(1, b"what?", []), Raw(2, None, None), raw(3, 1))
    assert read_all(feed(consumer), Position("", 0))[0] == [0, 1]


def test_another_epoch_is_refused_with_the_remedy() -> None:
    with pytest.raises(LogReplaced, match="rebuild"):
        read_all(feed(Partition(raw(0, 0), raw(1, 1, "e2"))), Position("e1", 0, 0))


def test_records_that_retention_removed_stop_the_reader() -> None:
    with pytest.raises(GapInLog, match="retention"):
        read_all(feed(Partition(raw(40, 40))), Position("e1", 3, 3))


def test_group_offsets_are_committed_for_tools() -> None:
    consumer = Partition(*(raw(n, n) for n in range(3)))
    made = feed(consumer)
    made.waiting({PLACE: Position("e1", 2, 2)})
    assert consumer.committed[PLACE].offset == 2


def test_without_the_checksum_extension_the_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "crc32c", None)
    with pytest.raises(NoChecksums, match="crc32c") as refused:
        Cluster(Settings(kafka_bootstrap="127.0.0.1:1"))
    assert "pip install" in str(refused.value.remedy)


def test_settings_reach_the_client() -> None:
    given: dict[str, Any] = {
        "kafka_bootstrap": "a:1,b:2", "kafka_security": "SASL_SSL", "kafka_ca_file": "/ca.pem", "kafka_username": "me",
        "kafka_certificate_file": "/own.pem", "kafka_key_file": "/own.key", "kafka_password": "secret",
    }  # fmt: skip
    said = Cluster(Settings(**given)).connection
    assert said["bootstrap_servers"] == ["a:1", "b:2"]
    assert (said["security_protocol"], said["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (said["sasl_plain_username"], said["sasl_plain_password"]) == ("me", "secret")
    assert [said[f"ssl_{file}"] for file in ("cafile", "certfile", "keyfile")] == ["/ca.pem", "/own.pem", "/own.key"]

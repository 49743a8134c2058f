"""Nothing acknowledged is lost and nothing counts twice, whatever ends, stops or goes away under load."""

import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from services.client import ValueLoopClient
from shared.database.embedded import FOR_TESTS, EmbeddedPostgres
from shared.settings import Settings
from tests.acceptance.conftest import running
from tests.cluster import checks, company
from tests.cluster.conftest import option
from tests.cluster.faults import Chaos, Monitor, table
from tests.cluster.harness import EVERY_ROLE, Cluster, wait_for
from tests.cluster.history import History, Load, Reader

COMPANY = "chaos"
BATCH, REPEAT = 250, 50
Summary = list[tuple[str, Any]]


def test_under_faults_every_acknowledged_event_counts_once_and_in_order(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count, seed = option("EVENTS", 100_000), option("SEED", 1)
    away, seconds, comings = option("AWAY", 60), option("SECONDS", 200), option("COMINGS", 100)
    sent = company.events(count, seed)
    history = History()
    chaos = Chaos(cluster, history, seed)
    company.set_up(client := cluster.client(COMPANY))
    client.wait_until_settled(300)  # events that waited for their mapping would rightly count later
    batches = list(company.batches(sent, BATCH, REPEAT, seed))
    began = time.monotonic()
    reader = Reader(cluster.client(COMPANY), history).start()
    try:
        with Monitor(cluster) as monitor:
            load = Load(lambda: cluster.client(COMPANY), history, iter(batches), len(batches), seconds).start()
            _everything_goes_wrong(chaos, load, away, comings)
            last_fault = time.monotonic()
            load.wait()
            cluster.client(COMPANY).post("/metrics/v1/ticks", {"at": company.END_OF_PERIOD}, repeatable=True)
            wait_for("quiet", monitor.quiet)
            quiet = time.monotonic()
            client.wait_until_settled(120)
    finally:
        reader.stop()
    reader.look()
    summary: Summary = [
        ("seed", seed),
        ("events", f"{len(sent)} of {history.accepted + history.duplicates} sent in {len(batches)} batches"),
        ("answers lost and sent again", history.duplicates),
        ("numbers read", history.reads),
        *table(chaos, monitor),
        ("process starts", sum(member.starts for member in cluster.members.values())),
        ("comings and goings of workers", chaos.comings_and_goings),
        ("successor after the lease of a stopped worker", [f"{seconds:.1f} s" for seconds in chaos.beyond_lease]),
        ("seconds from the first event to the last fault", f"{last_fault - began:.0f}"),
        ("seconds from the last fault to quiet", f"{quiet - last_fault:.1f}"),
    ]
    found = _differences(cluster, history, sent, tmp_path) | {
        "parked": [str(client.parked())] if client.parked() else []
    }
    _print(capsys, summary + [(f"differences: {name}", len(wrong)) for name, wrong in found.items()])
    assert {name: wrong[:10] for name, wrong in found.items() if wrong} == {}
    assert chaos.comings_and_goings >= comings
    assert all(seconds < 5 for seconds in chaos.beyond_lease)


def _everything_goes_wrong(chaos: Chaos, load: Load, away: int, comings: int) -> None:
    for number, phase in enumerate(phases := _phases(chaos, away)):
        load.allowed = Fraction(number + 1, len(phases) + 1)
        phase()
    load.allowed = Fraction(1)
    chaos.kill_for(600, lambda: not load.sending() and chaos.comings_and_goings >= comings)


def _phases(chaos: Chaos, away: int) -> list[Callable[[], None]]:
    """What goes wrong, one after the other; processes are killed all the time where they can start again."""

    def broker(how: str, seconds: int) -> None:
        with chaos.broker_away(how):
            chaos.kill_for(seconds)
        chaos.kill_for(8)

    def database(how: str, seconds: int) -> None:
        with chaos.postgres_away(how):
            chaos.kill_one()
            time.sleep(seconds)
        chaos.kill_for(8)

    return [
        lambda: chaos.kill_for(10),
        lambda: chaos.stop_workers("metrics"),
        lambda: broker("stop", 1),
        lambda: broker("kill", 1),
        lambda: broker("kill", away),
        lambda: chaos.stop_workers("goals"),
        lambda: database("stop", 0),
        lambda: database("crash", 0),
        lambda: database("stop", away),
    ]


def _differences(
    cluster: Cluster, history: History, sent: Sequence[company.Event], directory: Path
) -> dict[str, list[str]]:
    client = cluster.client(COMPANY)
    expected, told = company.totals(sent), company.readings(client)
    return {
        "acknowledged but lost": checks.lost(cluster, history.written),
        "not acknowledged": [event.id for event in sent if event.id not in history.written],
        "in two places": history.moved,
        "counted twice": checks.doubled(cluster, history.written),
        "sums": [f"{key}: {told.get(key)}, not {value}" for key, value in expected.items() if told.get(key) != value],
        "out of order": checks.out_of_order(cluster),
        "numbers that went back": history.backwards,
        "parked": ["see `valueloop parked list`"] * client.parked(),
        "Kafka beside the log": checks.gaps(cluster),
        "state beside a clean run": _beside_a_clean_run(cluster, sent, directory),
    }


def _beside_a_clean_run(cluster: Cluster, sent: Sequence[company.Event], directory: Path) -> list[str]:
    """The same events in order, in one process, without Kafka."""
    postgres = EmbeddedPostgres(directory / "clean", FOR_TESTS)
    settings = Settings(data_directory=directory / "data", settable_clock=True, log_level="error")
    try:
        url = postgres.start()
        with running(settings, url) as installation:
            token = installation.issuer.issue("operator", COMPANY, EVERY_ROLE)
            client = ValueLoopClient(installation.address, token, installation.http)
            company.set_up(client)
            for start in range(0, len(sent), 5_000):
                client.push_encoded([event.body for event in sent[start : start + 5_000]])
            client.post("/metrics/v1/ticks", {"at": company.END_OF_PERIOD}, repeatable=True)
            client.wait_until_settled(300)
            return checks.differs(cluster, url)
    finally:
        postgres.stop()


def _print(capsys: pytest.CaptureFixture[str], summary: Summary) -> None:
    width = max(len(name) for name, _ in summary)
    with capsys.disabled():
        sys.stdout.write("\n" + "".join(f"  {name:<{width}}  {said}\n" for name, said in summary))

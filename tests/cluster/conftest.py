"""Tests on real processes: they need Java for a Kafka broker, and some minutes.

VALUELOOP_CLUSTER_EVENTS and _SECONDS say how many events and over how long, _AWAY for how many seconds broker and
database are away, _COMINGS how often workers leave and join at least, _SEED which faults there are.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kafka.broker import missing
from tests.cluster.harness import Cluster

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if HERE in item.path.parents]
    reason = missing() if mine else None
    for item in mine:
        item.add_marker("cluster")
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def option(name: str, otherwise: int) -> int:
    """A number that the environment may set."""
    return int(os.environ.get(f"VALUELOOP_CLUSTER_{name}", otherwise))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of the module's own. Its logs are kept where its directory is."""
    with Cluster(tmp_path_factory.mktemp("cluster")).running() as made:
        yield made

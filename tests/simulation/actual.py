"""The same numbers as the oracle's, read from the running system through its public HTTP API."""

from collections.abc import Mapping

from services.client import ValueLoopClient
from tests.simulation.oracle import Numbers


def actual(clients: Mapping[str, ValueLoopClient]) -> Numbers:
    """The numbers of each company, asked by a client that speaks for it with every role."""
    raise NotImplementedError

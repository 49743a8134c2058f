"""Group commit: requests that come at the same time share one accept transaction, and each waits for its COMMIT."""

import asyncio
from collections import deque
from itertools import islice
from typing import NamedTuple

from services.metrics.events.accept import Fate, Incoming, accept
from shared.database.outage import is_outage
from shared.database.unit_of_work import unit_of_work
from shared.errors import Busy
from shared.service import Runtime

MOST_WAITING = 20_000  # events; beyond it a sender is told to come back instead of piling up memory
MOST_TOGETHER = 5_000  # events in one transaction, unless a single request brings more


class IntakeFull(Busy):
    """More events wait to be accepted than can be soon."""


class _Request(NamedTuple):
    events: list[Incoming]
    answer: "asyncio.Future[list[Fate]]"


class Intake:
    """The intake of one process. Its flusher runs only while something waits, so there is nothing to start or stop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: deque[_Request] = deque()
        self._events = 0
        self._flusher: asyncio.Task[None] | None = None

    async def accept(self, events: list[Incoming]) -> list[Fate]:
        """The fate of each event, after it is durable.

        Raises:
            IntakeFull: too many wait. What the database raises, where it is away: then nothing was accepted, or, if it
            went away while committing, the repetition finds duplicates.
        """
        if not events:
            return []
        if self._events and self._events + len(events) > MOST_WAITING:
            raise IntakeFull("Too many events wait to be accepted.", remedy="Send the same again.", retry_after=1)
        request = _Request(events, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._events += len(events)
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return await asyncio.shield(request.answer)

    async def _flush(self) -> None:
        while self._waiting:
            together = [self._waiting.popleft()]
            size = len(together[0].events)
            while self._waiting and size + len(self._waiting[0].events) <= MOST_TOGETHER:
                together.append(self._waiting.popleft())
                size += len(together[-1].events)
            try:
                await self._commit(together)
            finally:
                self._events -= size

    async def _commit(self, together: list[_Request]) -> None:
        try:
            fates = iter(await asyncio.to_thread(self._store, together))
        except Exception as error:
            if len(together) > 1 and not is_outage(error):
                for request in together:  # one of them is at fault; the others must not be
                    await self._commit([request])
                return
            for request in together:
                request.answer.set_exception(error)
        else:
            for request in together:
                request.answer.set_result(list(islice(fates, len(request.events))))

    def _store(self, together: list[_Request]) -> list[Fate]:
        with unit_of_work(self._runtime, actor="intake") as uow:
            return accept(uow, [event for request in together for event in request.events])

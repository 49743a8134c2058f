"""Whether the database or Kafka was away or busy, or whether it refused what it was given."""

import psycopg
from sqlalchemy import exc

# SQLSTATE classes: connection, rollback by conflict, resources, locks, operator intervention, system error.
_AWAY = ("08", "40", "53", "55", "57", "58")


def is_outage(error: BaseException) -> bool:
    """True where the same work may succeed later; False where the data or the code is to blame.

    The driver calls more an operational error than that: an index row too large, for one, stays too large.
    """
    if isinstance(error, exc.TimeoutError | ConnectionError) or getattr(error, "connection_invalidated", False):
        return True
    if type(error).__module__ == "kafka.errors":  # raised by the client alone, never by a handler
        return True
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    if not isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    return cause.sqlstate is None or cause.sqlstate[:2] in _AWAY

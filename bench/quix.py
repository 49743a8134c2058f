"""The same events summed by Quix Streams, in a Python of its own: its dependencies exclude those of ValueLoop.

Run by `bench.bare`, never imported: `python bench/quix.py BROKERS TOPIC RESULTS COUNT GUARANTEE`. It adds revenue and
cost to the sums of each event's key, exactly, and publishes the new sums; state is in RocksDB, with a changelog topic.
It prints, as JSON, how long it took from the first event until the last result was committed, and the revenue.
"""

import json
import sys
import tempfile
import time
from decimal import Decimal
from uuid import uuid4

from quixstreams import Application


def main(brokers: str, topic: str, results: str, count: str, guarantee: str) -> None:
    """Sums so many events and ends."""
    began = 0.0
    sent: dict[str, dict[str, int]] = {}

    def add(event, state):
        nonlocal began
        began = began or time.perf_counter()
        data = event["data"]
        sums = state.get("sums", {"revenue": 0, "cost": 0})
        # In hundredths of a cent: JSON, in which the state is kept, has no decimals.
        sums["revenue"] += int(Decimal(data["amount"]).scaleb(4))
        sums["cost"] += int(Decimal(data["cost"]).scaleb(4))
        state.set("sums", sums)
        sent[data["plant"]] = sums
        return sums

    with tempfile.TemporaryDirectory(prefix="bench-quix-") as directory:
        app = Application(
            broker_address=brokers, consumer_group=f"bench-{uuid4()}", auto_offset_reset="earliest",
            state_dir=directory, processing_guarantee=guarantee, loglevel=None,
        )  # fmt: skip
        source = app.topic(topic, key_deserializer="bytes", value_deserializer="json")
        sums = app.dataframe(source).filter(lambda event: "data" in event).apply(add, stateful=True)
        sums.to_topic(app.topic(results, key_serializer="bytes", value_serializer="json"))
        app.run(count=int(count), collect=False)
        seconds = time.perf_counter() - began
    revenue = sum(each["revenue"] for each in sent.values())
    print(json.dumps({"seconds": seconds, "revenue": str(Decimal(revenue).scaleb(-4))}))


if __name__ == "__main__":
    main(*sys.argv[1:])

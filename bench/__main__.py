"""`python -m bench`: measures everything, prints a table, writes JSON."""

import argparse
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench import carried, measure, paying, scenarios
from bench.installation import running


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller amounts: sooner, and less certain")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go (default: bench/results/)")
    parser.add_argument("--kafka", action="store_true", help="only what is measured over Kafka")
    parser.add_argument("--money", action="store_true", help="only closing, paying and statements")
    parser.add_argument("--payees", type=int, metavar="N", help="how many people a payout run pays")
    quix = Path(sys.prefix) / "quix" / "bin" / "python"
    parser.add_argument("--quix", type=Path, metavar="PYTHON", default=quix, help="where Quix Streams is installed")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is then stopped
    console = Console(stderr=True)
    started = time.perf_counter()

    def say(sentence: str) -> None:
        console.print(f"{time.perf_counter() - started:4.0f} s  {sentence}", style="dim", highlight=False)

    size = scenarios.QUICK if options.quick else scenarios.FULL
    figures = [] if options.money else carried.all_of(size, options.quix, say)
    if not options.kafka:
        say("Starting PostgreSQL, the API and two workers.")
        with running() as installation:
            figures = ([] if options.money else scenarios.all_of(installation, size, say)) + figures
            figures += paying.all_of(installation, options.payees or size.payees, size.readings, say)
    seconds = time.perf_counter() - started
    measure.show(figures, seconds)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}{'-quick' if options.quick else ''}.json"
    path = options.json or Path(__file__).parent / "results" / name
    measure.write(figures, path, quick=options.quick, seconds=round(seconds, 1))
    console.print(f"Written to {path}.", style="dim")


if __name__ == "__main__":
    main()

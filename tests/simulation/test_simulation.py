"""Seeded runs of everything together: whatever happens, every record has one effect and every number is right."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog

from tests.simulation.defects import BY_NAME, DEFECTS, Defect
from tests.simulation.engine import Case, Simulator, shrink, simulator

SEEDS = int(os.environ.get("VALUELOOP_SIMULATION_SEEDS", "24"))
FIRST = int(os.environ.get("VALUELOOP_SIMULATION_FIRST", "0"))


@pytest.fixture(scope="module")
def simulated(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with simulator(postgres_url, tmp_path_factory.mktemp("simulation")) as made:
        yield made
    structlog.reset_defaults()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_every_number_is_right_whatever_happens(simulated: Simulator, seed: int) -> None:
    outcome = simulated.play(Case(seed))
    if outcome.wrong:
        shortest = shrink(lambda case: bool(simulated.play(case).wrong), outcome.case)
        lines = "\n".join(outcome.wrong[:20])
        pytest.fail(f"{lines}\nplay it: {outcome.case.command}\nshortest: {shortest.command}", pytrace=False)


def test_a_seed_takes_the_same_course_each_time(simulated: Simulator) -> None:
    for log in ("postgres", "kafka"):
        first, second = simulated.play(Case(7, log=log)), simulated.play(Case(7, log=log))
        assert first.trace == second.trace
        assert len(first.trace) > 50


def test_the_seeds_of_a_test_run_meet_every_kind_of_fault(simulated: Simulator) -> None:
    met: Counter[str] = Counter()
    for seed in range(1_000, 1_004):
        met += simulated.play(Case(seed, log="kafka")).counts
    for fault in ("died", "suspended", "takeovers", "waits", "unanswered", "duplicates", "troubles"):
        assert met[fault], f"{fault} never happened: {met}"


def found(simulated: Simulator, defect: Defect) -> int | None:
    """How many seeds it took to find a defect."""
    with defect.built_in():
        return next((n + 1 for n in range(defect.within) if simulated.play(Case(n, log=defect.log)).wrong), None)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda each: each.name)
def test_a_defect_is_found(simulated: Simulator, defect: Defect, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = found(simulated, defect)
    assert seeds, f"{defect.says}: not found within {defect.within} seeds"
    with capsys.disabled():
        sys.stdout.write(f"\n{defect.name}: found with {seeds} of at most {defect.within} seeds ")


def test_a_failure_shrinks_to_what_it_needs(simulated: Simulator) -> None:
    defect = BY_NAME["early-retraction-lost"]

    def fails(case: Case) -> bool:
        return bool(simulated.play(case).wrong)

    with defect.built_in():
        whole = next(case for case in (Case(n, log="postgres", steps=40) for n in range(defect.within)) if fails(case))
        short = shrink(fails, whole)
        assert fails(short)
    assert short.steps < whole.steps and "takeover" in short.without
    assert not simulated.play(short).wrong
    assert short.command.startswith(f"valueloop simulate --seed {short.seed} --steps {short.steps} --log postgres")

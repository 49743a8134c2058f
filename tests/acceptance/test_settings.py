"""Dated settings: versions, repetition, and no overwriting of what somebody else changed meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.acceptance.conftest import Loop


def put(loop: Loop, etag: str | None, **content: Any) -> Any:
    headers = {"authorization": f"Bearer {loop.client.token}"} | ({"if-match": etag} if etag else {})
    return loop.client.http.put(f"{loop.client.base_url}/goals/v1/people/li", json=content, headers=headers)


def test_of_eight_changes_to_what_was_read_one_wins_also_when_backdated(loop: Loop) -> None:
    person = {"name": "Li", "unit": "company"}
    put(loop, None, **person)
    etag = put(loop, None, **person, effective_from="2025-06-01", reason="Later").headers["etag"]

    def change(number: int) -> int:
        content = {"name": f"Li {number}", "unit": "company", "effective_from": "2025-01-01"}
        status: int = put(loop, etag, **content).status_code
        return status

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(change, range(8)))
    assert statuses == [200] + [412] * 7


def test_the_etag_of_ones_own_change_is_good_for_the_next(loop: Loop) -> None:
    put(loop, None, name="Li", unit="company", effective_from="2025-06-01")
    mine = put(loop, None, name="Li Na", unit="company", effective_from="2025-01-01").headers["etag"]
    assert put(loop, mine, name="Li Na", unit=None, effective_from="2025-03-01").status_code == 200


def test_repeating_a_setting_changes_nothing(loop: Loop) -> None:
    first = put(loop, None, name="Li", unit="company")
    again = put(loop, None, name="Li", unit="company")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert len(loop.get("goals/people/li/versions")) == 1

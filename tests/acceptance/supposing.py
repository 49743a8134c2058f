"""Previews through the public API, and committing what was previewed."""

from typing import Any

from tests.acceptance.conftest import Loop

OWNERS = {
    "metrics": ("mappings", "metrics", "rates"),
    "goals": ("units", "people", "goals", "targets", "scorecards", "goals-policies"),
    "incentives": ("plans", "assignments", "overrides", "pools", "awards", "incentives-policies"),
}


def command(setting: str, code: str, /, **content: Any) -> dict[str, Any]:
    return {"setting": setting, "code": code, "content": content}


def commit(loop: Loop, commands: Any = (), events: Any = ()) -> None:
    """Puts and pushes the same, one by one."""
    for each in commands:
        [service] = [name for name, kinds in OWNERS.items() if each["setting"] in kinds]
        path = f"{'policies' if each['setting'].endswith('policies') else each['setting']}/{each['code']}"
        path = f"goals/{each['code']}/targets" if each["setting"] == "targets" else path
        loop.put(f"{service}/{path}", **each["content"])
    if events:
        loop.push(list(events))
    loop.settle()


def preview(loop: Loop, service: str, commands: Any = (), events: Any = (), **query: Any) -> Any:
    """A preview, which must leave every log, every reader and what is parked as it was."""
    named = "&".join(f"{name}={value}" for name, value in query.items())
    before = stand(loop.settle())
    told = loop.client.post(f"/{service}/v1/previews?{named}", {"commands": list(commands), "events": list(events)})
    assert stand(loop) == before
    return told


def stand(loop: Loop) -> Any:
    """Ends of logs, readers and what is parked; which worker owns what moves by itself."""
    found = loop.client.positions()
    for service in found.values():
        service["readers"] = [{**reader, "owner": None} for reader in service["readers"]]
    return found


def differences(told: Any) -> dict[tuple[str, str], str]:
    return {(one["payee"], one["plan"]): one["difference"] for one in told["people"]}

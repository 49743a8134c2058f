"""`valueloop close`: closes a period, and shows how the services do so one after the other."""

import time
from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

import typer

from services.cli_files import Company, Token, Url, client_for
from services.cli_options import Directory, console
from services.client import SERVICES, ApiProblem, NotSettled, ValueLoopClient
from shared.errors import Conflict

app = typer.Typer()
PATIENCE = 600.0  # [s] for all services together
LOOKS_EVERY = 0.2  # [s]


class CloseRefused(Conflict):
    """Something turned out to be missing when the close came by."""


@app.command("close")
def close_command(
    period: Annotated[str, typer.Argument(help="The period, such as 2025-03.")],
    override: Annotated[
        str | None, typer.Option(help="Close it although something is missing; why. It stands in the certificate.")
    ] = None,
    url: Url = None,
    token: Token = None,
    company: Company = None,
    data_directory: Directory = None,
) -> None:
    """Close a period in all services, and wait until they have.

    Refused, with what is missing, while something is. What comes later restates the period; nothing opens it again.
    """
    client = client_for(data_directory, url, token, company)
    try:
        found = close(client, period, override, lambda line: console.print(line, markup=False))
    except ApiProblem as problem:
        _show_missing(problem.document.get("missing", []))
        raise
    console.print(f"{found['period']} is closed.")


def close(client: ValueLoopClient, period: str, override: str | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """Asks for the close and follows it; the period as it then is.

    Raises:
        ApiProblem: it was refused.
        CloseRefused: something was missing when the close came by.
        NotSettled: not all services have closed it in time.
    """
    # The key names the attempt: repeated within it, the call has one effect.
    key = uuid4().hex
    body = {"override": override} if override else {}
    client.post(f"/metrics/v1/periods/{period}/close", body, repeatable=True, **{"Idempotency-Key": key})
    until, told = time.monotonic() + PATIENCE, set[str]()
    while True:
        found: dict[str, Any] = client.get(f"/metrics/v1/periods/{period}")
        for each in found["services"]:
            if each["service"] not in told:
                told.add(each["service"])
                tell(f"{each['service']} closed it with change {each['change']}, certificate {each['certificate']}")
        if found["state"] == "closed":
            return found
        if found["state"] == "refused":
            _show_missing(found["missing"])
            raise CloseRefused(f"{period} is not complete.", remedy="See to what is missing, or use --override.")
        if time.monotonic() >= until:
            left = ", ".join(name for name in SERVICES if name not in told)
            raise NotSettled(f"{left} have not closed {period} after {PATIENCE:g} s.", remedy="Do the workers run?")
        time.sleep(LOOKS_EVERY)


def _show_missing(missing: list[dict[str, Any]]) -> None:
    for each in missing:
        owner = f", owed by {each['owner']}" if each["owner"] else ""
        console.print(f"{each['kind']}: {each['what']} ({each['count']}){owner}", markup=False)

"""What the parts of the `valueloop` command have in common."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from shared.settings import Settings
from shared.telemetry import configure_logging

ServiceName = Literal["goals", "metrics", "incentives", "reviews"]
Directory = Annotated[
    Path | None, typer.Option("--data-directory", help="Where data and keys are kept; .valueloop if not named.")
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", help="PostgreSQL to use, with a login that may create databases, instead of ours."),
]

console = Console(highlight=False, soft_wrap=True)
problems = Console(stderr=True, highlight=False, soft_wrap=True)


def settings_with(**options: Any) -> Settings:
    """The settings of the environment, with what the command line says instead; logging follows them from here on."""
    settings = Settings(**{name: value for name, value in options.items() if value is not None})
    configure_logging(settings.log_level, settings.log_json)
    return settings


def local_token(settings: Settings, company: str, subject: str, roles: list[str], hours: int = 8) -> str:
    """A token of the local issuer. Only who can read the data directory can make one."""
    from datetime import timedelta

    from shared.identity import LocalIssuer

    issuer = LocalIssuer(settings.data_directory, settings.issuer, settings.audience)
    return issuer.issue(subject, company, roles, timedelta(hours=hours))


def address_of(settings: Settings) -> str:
    """Where the API is: of the `valueloop up` that runs from the data directory, else as the settings say."""
    from shared.database.directory import running

    return running(settings.data_directory) or f"http://{settings.host}:{settings.port}"

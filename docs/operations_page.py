"""Writes the table of settings into docs/operations.md. Run by `make docs`; a test says when it is out of date."""

from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr

from shared.settings import Settings

DOCS = Path(__file__).parent
BEGIN, END = "<!-- generated: {} -->", "<!-- end -->"


def settings_table() -> str:
    """A row per setting: its variable, default and meaning."""
    prefix = str(Settings.model_config.get("env_prefix"))
    rows = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{prefix}{name.upper()}` | {_kind(field.annotation)} | {default} | {field.description} |")
    return "\n".join(rows)


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if isinstance(annotation, UnionType):
        return " or ".join(_kind(one) for one in get_args(annotation) if one is not type(None))
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path", SecretStr: "text"}
    return names[annotation]


def with_part(page: str, name: str, content: str) -> str:
    """The page with its part of that name replaced."""
    begin = BEGIN.format(name)
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{content}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    page = DOCS / "operations.md"
    page.write_text(with_part(page.read_text(), "settings", settings_table()))


if __name__ == "__main__":
    main()

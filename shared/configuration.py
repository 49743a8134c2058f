"""One mechanism for every dated setting: a service's own, and the copies it keeps of others' settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Header, Query, Response
from pydantic import BaseModel

from shared.closing import closed_until, refuse_closed_day, refuse_unexplained
from shared.contracts.base import Code, Configuration, Defined
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.errors import NotFound
from shared.http.conditional import check_if_match, etag
from shared.http.context import Context
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.service import Received

C = TypeVar("C", bound=Configuration)
Check = Callable[[UnitOfWork, str, str, Any, Any], None]
_COLUMNS = "code, version, content, recorded_by, recorded_at"


@dataclass(frozen=True, slots=True)
class Recorded(Generic[C]):
    """One version of a setting."""

    code: str
    version: int
    content: C
    recorded_by: str
    recorded_at: datetime


class Versioned(BaseModel, Generic[C]):
    """One version of a setting, as the API shows it."""

    code: str
    version: int
    recorded_by: str
    recorded_at: datetime
    content: C


@dataclass(frozen=True, slots=True)
class Setting:
    """A kind of setting that people define, and the rule its new versions keep."""

    kind: type[Configuration]
    check: Check | None


class SettingNotFound(NotFound):
    """No setting of that kind has that code."""


def in_force(uow: UnitOfWork, kind: type[C], company: str, code: str, day: date) -> Recorded[C] | None:
    """The version in force on a day: the latest that has begun, of the same beginning the last recorded."""
    row = uow.row(
        f"SELECT {_COLUMNS} FROM configuration WHERE company = :company AND kind = :kind AND code = :code "
        "AND effective_from <= :day ORDER BY effective_from DESC, version DESC LIMIT 1",
        company=company, kind=kind.KIND, code=code, day=day,
    )  # fmt: skip
    return _recorded(kind, row) if row else None


def latest(uow: UnitOfWork, kind: type[C], company: str, code: str) -> Recorded[C] | None:
    """The version with the latest beginning, whether it has begun or not."""
    return in_force(uow, kind, company, code, date.max)


def all_in_force(uow: UnitOfWork, kind: type[C], company: str, day: date = date.max) -> dict[str, Recorded[C]]:
    """Every setting of a kind as it is on a day, by code."""
    rows = uow.rows(
        f"SELECT DISTINCT ON (code) {_COLUMNS} FROM configuration WHERE company = :company AND kind = :kind "
        "AND effective_from <= :day ORDER BY code, effective_from DESC, version DESC",
        company=company, kind=kind.KIND, day=day,
    )  # fmt: skip
    return {row.code: _recorded(kind, row) for row in rows}


def history(uow: UnitOfWork, kind: type[C], company: str, code: str | None = None) -> list[Recorded[C]]:
    """All versions of one setting, or of all of a kind, by code and beginning; superseded ones included."""
    rows = uow.rows(
        f"SELECT {_COLUMNS} FROM configuration WHERE company = :company AND kind = :kind "
        "AND (CAST(:code AS text) IS NULL OR code = :code) ORDER BY code, effective_from, version",
        company=company, kind=kind.KIND, code=code,
    )  # fmt: skip
    return [_recorded(kind, row) for row in rows]


def newest_version(uow: UnitOfWork, kind: type[C], company: str, code: str) -> int | None:
    """The last recorded version of a setting, whatever its beginning: what its ETag names."""
    version: int | None = uow.value(
        "SELECT max(version) FROM configuration WHERE company = :company AND kind = :kind AND code = :code",
        company=company, kind=kind.KIND, code=code,
    )  # fmt: skip
    return version


def settings_version(uow: UnitOfWork, company: str, kinds: Sequence[type[Configuration]]) -> int:
    """A number that grows whenever a setting of these kinds is recorded: tells whether what was read still holds."""
    return int(
        uow.value(
            "SELECT count(*) FROM configuration WHERE company = :company AND kind = ANY(:kinds)",
            company=company, kinds=[kind.KIND for kind in kinds],
        )
    )  # fmt: skip


def define(
    uow: UnitOfWork,
    company: str,
    code: str,
    content: C,
    *,
    if_match: str | None = None,
    check: Check | None = None,
) -> tuple[Recorded[C], bool]:
    """Records a new version of a setting and publishes it; returns it and whether anything changed.

    A content equal to what is already recorded for its beginning changes nothing, so repeating a command is harmless.
    The company's lock is held from here on: settings of one company are recorded one after the other.

    Raises:
        DateClosed: it would change what was in force on a closed day, and is no correction.
        CorrectionUnexplained: it is one, and does not say why.
    """
    kind = type(content)
    uow.lock_company(company)
    newest = newest_version(uow, kind, company, code)
    check_if_match(if_match, newest)
    same_day = in_force(uow, kind, company, code, content.effective_from)
    if same_day and same_day.content == content:
        return same_day, False
    refuse_unexplained(content)
    if kind.JUDGES and newest and not (same_day and _says(same_day.content) == _says(content)):
        refuse_closed_day(closed_until(uow, company), content)
    if check:
        check(uow, company, code, content, same_day.content if same_day else None)
    recorded = Recorded(code, (newest or 0) + 1, content, uow.actor, datetime.now(UTC))
    store(uow, company, recorded)
    _publish(uow, company, recorded)
    if handler := uow.service.commands.get(kind):
        handler(uow, [Received(company, code, kind.TOPIC, 0, 0, recorded.recorded_at, recorded)])
    return recorded, True


def _says(content: Configuration) -> dict[str, Any]:
    """What decides, whenever it begins and whyever it was set."""
    return content.model_dump(exclude={"effective_from", "reason", "correction"})


def store(uow: UnitOfWork, company: str, recorded: Recorded[Any]) -> None:
    """Keeps one version; the same one again changes nothing."""
    uow.run(
        "INSERT INTO configuration (company, kind, code, version, effective_from, content, recorded_by, recorded_at) "
        "VALUES (:company, :kind, :code, :version, :effective_from, :content, :recorded_by, :recorded_at) "
        "ON CONFLICT DO NOTHING",
        company=company, kind=recorded.content.KIND, code=recorded.code, version=recorded.version,
        effective_from=recorded.content.effective_from, content=Jsonb(recorded.content.model_dump(mode="json")),
        recorded_by=recorded.recorded_by, recorded_at=recorded.recorded_at,
    )  # fmt: skip


def decode(kind: type[C], data: str) -> Recorded[C]:
    """The setting in a configuration event."""
    defined = Defined.model_validate_json(data, extra="ignore")
    content = kind.model_validate(defined.content, extra="ignore")
    return Recorded(defined.code, defined.version, content, defined.recorded_by, defined.recorded_at)


def _publish(uow: UnitOfWork, company: str, recorded: Recorded[Any]) -> None:
    content = recorded.content
    payload = Defined(
        code=recorded.code, version=recorded.version, recorded_by=recorded.recorded_by,
        recorded_at=recorded.recorded_at, content=content.model_dump(mode="json"),
    )  # fmt: skip
    uow.publish_raw(type(content), payload.model_dump_json(), company=company, key=f"{content.KIND}/{recorded.code}")


def _recorded(kind: type[C], row: Any) -> Recorded[C]:
    return Recorded(
        row.code, row.version, kind.model_validate(row.content, extra="ignore"), row.recorded_by, row.recorded_at
    )


def shown(recorded: Recorded[C]) -> Versioned[C]:
    """The API's view of a version."""
    model: Any = Versioned
    view: Versioned[C] = model[type(recorded.content)](
        code=recorded.code, version=recorded.version, recorded_by=recorded.recorded_by,
        recorded_at=recorded.recorded_at, content=recorded.content,
    )  # fmt: skip
    return view


def require(uow: UnitOfWork, kind: type[C], company: str, code: str, day: date = date.max) -> Recorded[C]:
    """The version in force on a day.

    Raises:
        SettingNotFound: there is none.
    """
    if found := in_force(uow, kind, company, code, day):
        return found
    raise SettingNotFound(
        f"There is no {kind.__name__.lower()} with the code {code!r}" + ("." if day == date.max else f" on {day}."),
        field="code", remedy=f"List what exists with GET /{kind.OWNER}/v1/{kind.KIND}.",
    )  # fmt: skip


def configuration_router(
    kind: type[C],
    *,
    write_roles: Sequence[str],
    check: Check | None = None,
    path: str | None = None,
    listed: bool = True,
) -> Router:
    """The four routes of a kind of setting: list (unless a noun lists in its own way), get, versions, put."""
    name, plural = kind.__name__, "".join(part.capitalize() for part in kind.KIND.split("-"))
    base = path or f"/{kind.KIND}"
    router = Router(tags=[kind.KIND])
    router.settings[kind.KIND] = Setting(kind, check)
    Body: Any = kind

    def list_settings(
        context: Context,
        page: Paging,
        on: Annotated[date | None, Query(description="As in force on this day; default: the latest.")] = None,
    ) -> Any:
        context.require_reader()
        rows = context.uow.rows(
            f"SELECT DISTINCT ON (code) {_COLUMNS} FROM configuration WHERE company = :company AND kind = :kind "
            "AND effective_from <= :day AND code > :after "
            "ORDER BY code, effective_from DESC, version DESC LIMIT :limit",
            company=context.company, kind=kind.KIND, day=on or date.max, after=page.after or "", limit=page.limit + 1,
        )  # fmt: skip
        return page.of([shown(_recorded(kind, row)) for row in rows], lambda item: item.code)

    if listed:
        listing = router.get(base, operation_id=f"list{plural}", summary=f"List {kind.KIND}",
                             response_model=Page[Versioned[Body]])  # fmt: skip
        listing(list_settings)

    @router.get(base + "/{code}", operation_id=f"get{name}", summary=f"Get one of the {kind.KIND}",
                response_model=Versioned[Body])  # fmt: skip
    def get_setting(
        context: Context,
        code: Code,
        response: Response,
        on: Annotated[date | None, Query(description="As in force on this day; default: the latest.")] = None,
    ) -> Any:
        context.require_reader()
        found = require(context.uow, kind, context.company, code, on or date.max)
        response.headers["ETag"] = etag(newest_version(context.uow, kind, context.company, code) or 0)
        return shown(found)

    @router.get(base + "/{code}/versions", operation_id=f"list{name}Versions", summary="List every recorded version",
                response_model=list[Versioned[Body]])  # fmt: skip
    def list_versions(context: Context, code: Code) -> Any:
        context.require_reader()
        require(context.uow, kind, context.company, code)
        return [shown(found) for found in history(context.uow, kind, context.company, code)]

    @router.put(base + "/{code}", operation_id=f"put{name}", summary="Define or change; repeating it changes nothing",
                response_model=Versioned[Body], responses={201: {"model": Versioned[Body]}})  # fmt: skip
    def put_setting(
        context: Context,
        code: Code,
        content: Body,
        response: Response,
        if_match: Annotated[str | None, Header(description="The ETag last read; refuses to overwrite.")] = None,
    ) -> Any:
        context.require(*write_roles)
        recorded, changed = define(context.uow, context.company, code, content, if_match=if_match, check=check)
        response.status_code = 201 if changed and recorded.version == 1 else 200
        response.headers["ETag"] = etag(newest_version(context.uow, kind, context.company, code) or 0)
        return shown(recorded)

    return router

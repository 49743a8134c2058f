"""Configuration as YAML files: read with the line of every value, checked, put in order, compared, written back."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from services.client import ApiProblem, ValueLoopClient
from services.incentives.plans.definitions import is_tiers, parse_tiers
from shared.contracts import goals, incentives, metrics, payouts, reviews
from shared.contracts.base import ALWAYS, Configuration, Policy
from shared.curves import parse_curve
from shared.errors import Invalid
from shared.formula import FORMULA, MAPPING, parse
from shared.formula.graph import topological_order

DEEPEST = 30
# What others refer to comes first: early is legal, and yet a formula's units are known only once its inputs are.
ORDER: tuple[type[Configuration], ...] = (
    goals.Company, goals.Unit, goals.Person, goals.GoalsPolicy,
    metrics.Source, metrics.MetricsPolicy, metrics.Conversion, metrics.Rate, metrics.Metric, metrics.Mapping,
    metrics.Node, metrics.Linkage, metrics.Guard,
    goals.Goal, goals.Target, goals.Scorecard,
    incentives.IncentivesPolicy, incentives.Plan, incentives.Assignment, incentives.Pool, incentives.Award,
    incentives.Override, payouts.PaymentAccount, payouts.Hold, payouts.PayeeMerge, reviews.ReviewsPolicy,
)  # fmt: skip
KINDS = {kind.KIND: kind for kind in ORDER}
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class FileFault(Exception):
    """Something in a file breaks a rule."""

    def __init__(self, place: str, rule: str) -> None:
        super().__init__(f"{place}: {rule}")
        self.place, self.rule = place, rule


Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Item:
    """One version of one setting, as a file says it."""

    kind: type[Configuration]
    code: str
    content: Configuration
    file: str
    lines: Mapping[Path_, int] = field(compare=False, repr=False)

    def place(self, where: Sequence[str | int] = ()) -> str:
        """File and line of a field, or of the nearest thing around it that the file has."""
        steps = tuple(where)
        while steps and steps not in self.lines:
            steps = steps[:-1]
        return f"{self.file}:{self.lines[steps]}"


@dataclass(frozen=True)
class Change:
    """What applying an item does: `created`, `versioned` or `unchanged`."""

    item: Item
    what: str


# --- reading ---


def read(root: Path) -> tuple[list[Item], list[FileFault]]:
    """Every setting in the YAML files below a directory (or in one file), in the order in which to apply them."""
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.suffix in (".yaml", ".yml"))
    items: list[Item] = []
    faults: list[FileFault] = []
    for file in files:
        name = str(file if root.is_file() else file.relative_to(root))
        try:
            faults += _read_file(file, name, items)
        except FileFault as fault:
            faults.append(fault)
    return in_order(items), faults + _said_twice(items)


def _read_file(file: Path, name: str, items: list[Item]) -> list[FileFault]:
    faults = []
    for kind, code, node in _settings(_composed(file, name), name):
        try:
            items.append(_item(kind, code, node, name))
        except FileFault as fault:
            faults.append(fault)
    return faults


def _composed(file: Path, name: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader)
        return node
    except UnicodeDecodeError as error:
        raise FileFault(name, f"The file is not UTF-8 (byte {error.start}).") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FileFault(f"{name}:{line}", f"This is not YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise FileFault(name, f"This is not YAML: {str(error).splitlines()[0]}") from error


def _settings(root: yaml.Node | None, name: str) -> Iterator[tuple[type[Configuration], str, yaml.Node]]:
    """Kind, code and node of each version."""
    if root is None:
        return
    for key, by_code in _members(root, name, "A file holds kinds of settings, such as `units:`."):
        if key.value == "company":
            yield from ((goals.Company, "company", version) for version in _versions(by_code))
            continue
        if (kind := KINDS.get(key.value)) is None:
            raise FileFault(
                f"{name}:{_line(key)}", f"There is no kind {key.value!r}; there are company, {', '.join(KINDS)}."
            )
        for code, versions in _members(by_code, name, f"Below `{key.value}:` come codes, each with its fields."):
            yield from ((kind, code.value, version) for version in _versions(versions))


def _members(node: yaml.Node, name: str, rule: str) -> list[tuple[yaml.Node, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode) or not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
        raise FileFault(f"{name}:{_line(node)}", rule)
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if key.value in seen and key.value != "<<":
            raise FileFault(f"{name}:{_line(key)}", f"{key.value!r} stands here and in line {seen[key.value]}.")
        seen[key.value] = _line(key)
    return list(node.value)


def _versions(node: yaml.Node) -> list[yaml.Node]:
    return node.value if isinstance(node, yaml.SequenceNode) else [node]


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _item(kind: type[Configuration], code: str, node: yaml.Node, name: str) -> Item:
    lines: dict[Path_, int] = {}
    value = _plain(node, name, (), lines)
    if not isinstance(value, dict):
        raise FileFault(f"{name}:{_line(node)}", f"A setting of kind {kind.KIND} has fields; this is {value!r}.")
    draft = Item(kind, code, kind.model_construct(), name, lines)
    try:
        content = kind.model_validate(value)
        _check_expressions(content, draft)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise FileFault(draft.place(first["loc"]), f"{kind.KIND} {code}: {where}: {first['msg']}.") from error
    return Item(kind, code, content, name, lines)


def _plain(node: yaml.Node, name: str, path: Path_, lines: dict[Path_, int]) -> Any:
    """The node as text, true, false, null, lists and mappings: numbers and dates stay the text they were written as."""
    if len(path) > DEEPEST:  # an anchor that contains itself
        raise FileFault(f"{name}:{_line(node)}", f"This is nested deeper than {DEEPEST} levels.")
    lines[path] = _line(node)
    if isinstance(node, yaml.ScalarNode):
        return _WORDS.get(node.value, node.value) if node.style is None else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(part, name, (*path, index), lines) for index, part in enumerate(node.value)]
    result: dict[str, Any] = {}
    for key, part in _members(node, name, "Keys are plain text."):
        if key.value == "<<":
            result = _plain(part, name, path, lines) | result
        else:
            result[key.value] = _plain(part, name, (*path, key.value), lines)
    return result


def _check_expressions(content: Configuration, draft: Item) -> None:
    """Formulas, mapping expressions and curves, so that a dry run finds what the service would refuse."""
    for path, check in _checks(content):
        try:
            check()
        except Invalid as error:
            where = ".".join(str(step) for step in path)
            rule = f"{draft.kind.KIND} {draft.code}: {where}: {error.rule}"
            raise FileFault(draft.place(path), " ".join(filter(None, (rule, error.remedy)))) from error


def _checks(content: Configuration) -> Iterator[tuple[Path_, Callable[[], object]]]:
    if isinstance(content, metrics.Metric) and (formula := content.formula):
        yield ("formula",), lambda: parse(formula, functions=FORMULA)
    if isinstance(content, metrics.Mapping):
        for path, source in _expressions(content):
            yield path, lambda source=source: parse(source, functions=MAPPING)  # type: ignore[misc]
    if isinstance(content, incentives.Plan):
        for index, component in enumerate(content.components):
            table = parse_tiers if is_tiers(component.curve) else parse_curve
            yield ("components", index, "curve"), lambda of=component.curve, parse=table: parse(of)  # type: ignore[misc]


def _expressions(mapping: metrics.Mapping) -> Iterator[tuple[Path_, str]]:
    fields: list[tuple[Path_, str | None]] = [((n,), getattr(mapping, n)) for n in ("when", "for_each", "revision")]
    for index, rule in enumerate(mapping.observations):
        here: Path_ = ("observations", index)
        names = ("value", "unit", "subject", "time", "key", "document", "when")
        fields += [((*here, name), getattr(rule, name)) for name in names]
        fields += [((*here, "dimensions", name), source) for name, source in rule.dimensions.items()]
    return ((path, source) for path, source in fields if source is not None)


def _said_twice(items: Iterable[Item]) -> list[FileFault]:
    seen: dict[tuple[str, str, date], Item] = {}
    faults = []
    for item in items:
        identity = (item.kind.KIND, item.code, item.content.effective_from)
        before = seen.setdefault(identity, item)
        if before is not item:
            rule = f"{item.kind.KIND} {item.code} is said for the same day in {before.place()} already."
            faults.append(FileFault(item.place(), rule))
    return faults


# --- order ---


def in_order(items: Iterable[Item]) -> list[Item]:
    """By kind, within it what others refer to first, of one code by date."""
    groups: dict[type[Configuration], dict[str, list[Item]]] = {kind: {} for kind in ORDER}
    for item in items:
        groups[item.kind].setdefault(item.code, []).append(item)
    return [
        item
        for kind in ORDER
        for code in _codes_in_order(groups[kind])
        for item in sorted(groups[kind][code], key=lambda item: item.content.effective_from)
    ]


def _codes_in_order(by_code: Mapping[str, list[Item]]) -> list[str]:
    graph = {code: {need for item in versions for need in _needs(item) if need in by_code and need != code}
             for code, versions in by_code.items()}  # fmt: skip
    try:
        return [code for code in topological_order(graph) if code in by_code]
    except Invalid:  # the service names the cycle, if it is one at any single day
        return list(by_code)


def _needs(item: Item) -> Iterable[str]:
    content = item.content
    if isinstance(content, goals.Unit | goals.Goal):
        return [content.parent] if content.parent else []
    if isinstance(content, goals.Person):
        return [content.manager] if content.manager else []
    if isinstance(content, metrics.Metric) and content.formula:
        return parse(content.formula, functions=FORMULA).names
    return []


# --- comparing and applying ---


def address(kind: type[Configuration], code: str | None = None) -> str:
    """Where the API has settings of a kind, or one of them."""
    if kind is goals.Target:
        return "/goals/v1/goals" if code is None else f"/goals/v1/goals/{code}/targets"
    base = f"/{kind.OWNER}/v1/{'policies' if issubclass(kind, Policy) else kind.KIND}"
    return base if code is None else f"{base}/{code}"


@dataclass
class Recorded:
    """What the services have: for each kind and code the versions that count, by the day they begin."""

    client: ValueLoopClient
    known: dict[type[Configuration], dict[str, dict[date, Configuration]]] = field(default_factory=dict)

    def of(self, kind: type[Configuration]) -> dict[str, dict[date, Configuration]]:
        """All versions of a kind; superseded ones left out. Raises ApiProblem."""
        if kind not in self.known:
            found = {code: self._versions(kind, code) for code in self._codes(kind)}
            self.known[kind] = {code: versions for code, versions in found.items() if versions}
        return self.known[kind]

    def _codes(self, kind: type[Configuration]) -> list[str]:
        if issubclass(kind, Policy):
            return [view["code"] for view in self.client.get(address(kind)) if view["history"]]
        return [found["code"] for found in self.client.items(address(kind))]

    def _versions(self, kind: type[Configuration], code: str) -> dict[date, Configuration]:
        of_one = address(kind, code)
        found = self.client.get(of_one if kind is goals.Target else f"{of_one}/versions")
        contents = [kind.model_validate(v["content"]) for v in sorted(found, key=lambda v: v["version"])]
        return {content.effective_from: content for content in contents}


def compare(item: Item, recorded: Recorded) -> Change:
    """What applying the item would do. Raises ApiProblem."""
    versions = recorded.of(item.kind).get(item.code)
    if versions is None:
        return Change(item, "created")
    same = versions.get(item.content.effective_from) == item.content
    return Change(item, "unchanged" if same else "versioned")


def put(client: ValueLoopClient, item: Item) -> None:
    """Records the item. Raises FileFault with the line that the service's refusal is about."""
    try:
        client.put(address(item.kind, item.code), item.content.model_dump(mode="json"))
    except ApiProblem as problem:
        if problem.status in (0, 401, 403) or problem.status >= 500:
            raise
        where = str(problem.field or "").split(".")
        steps = [int(step) if step.isdecimal() else step for step in where]
        named = f"{problem.field}: " if problem.field else ""
        raise FileFault(item.place(steps), f"{item.kind.KIND} {item.code}: {named}{problem}") from problem


# --- writing back ---


def as_yaml(kind: type[Configuration], by_code: Mapping[str, Mapping[date, Configuration]]) -> str:
    """A file with every version of a kind; what is at its default is left out."""
    listed = {code: [_written(versions[day]) for day in sorted(versions)] for code, versions in sorted(by_code.items())}
    document = {kind.KIND: {code: found[0] if len(found) == 1 else found for code, found in listed.items()}}
    return yaml.dump(document, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)


def _written(content: Configuration) -> dict[str, Any]:
    fields = content.model_dump(mode="json", exclude_defaults=True)
    if content.effective_from != ALWAYS:
        fields = {"effective_from": content.effective_from.isoformat()} | fields
    return fields


class _Dumper(yaml.SafeDumper):
    """Numbers and dates are text to us and need no quotes; what YAML takes for true, false or null does."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag.endswith((":null", ":bool"))]
        for first, found in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True

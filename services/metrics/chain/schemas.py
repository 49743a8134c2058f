"""The shapes of the value chain and of its nodes' readings."""

from dataclasses import asdict
from datetime import datetime

from pydantic import BaseModel, Field

from services.metrics.chain.store import NodeVersion
from services.metrics.readings.schemas import Input, Published, inputs_of
from shared.contracts.metrics import Node
from shared.numbers import DecimalString


class NodeReading(BaseModel):
    """What a value node says of a period."""

    node: str
    period: str
    version: int
    change: int
    ratio: DecimalString | None = Field(description="Output per input; null where the input is zero or missing.")
    trend: DecimalString | None = Field(description="Ratio less the ratio of the previous period.")
    effect: Published | None = Field(description="In money, by the linkages that start here.")
    currency: str | None
    reason: str | None
    quality: list[Input] = Field(description="The readings of its quality metrics.")
    inputs: list[Input] = Field(description="Every reading that it is made of.")
    recorded_at: datetime
    links: dict[str, str]


class ChainNode(BaseModel):
    """A node with its reading of the period asked for."""

    code: str
    name: str
    labels: dict[str, str]
    kind: str
    subject: str
    input: str | None
    output: str | None
    goal: str | None
    hand_over: str | None
    reading: NodeReading | None


class Edge(BaseModel):
    """What a node feeds."""

    source: str
    target: str
    next_period: bool = Field(description="Takes effect in the next period.")


class Incomplete(BaseModel):
    """A node that lacks something."""

    node: str
    lacking: list[str]


class LinkageView(BaseModel):
    """A linkage with the readings of its metrics at its first node: from the cause to the money."""

    code: str
    name: str
    from_node: str
    to_node: str
    subject: str | None
    steps: list[Input]


class Chain(BaseModel):
    """The value chain, with the readings of a period where one was named."""

    period: str | None
    nodes: list[ChainNode] = Field(description="Each after those that feed it within a period.")
    edges: list[Edge]
    incomplete: list[Incomplete] = Field(description="Primary nodes without goal or hand-over standard, and the like.")
    linkages: list[LinkageView]


class Ranked(BaseModel):
    """A node in the comparison of a period."""

    rank: int | None = Field(description="1 is the weakest; null where there is no ratio.")
    node: str
    name: str
    reading: NodeReading | None


def shown(version: NodeVersion, node: Node | None) -> NodeReading:
    """A version of a node's reading as the API shows it."""
    inputs = inputs_of(version.inputs)
    quality = [each for each in inputs if node and each.code in node.quality]
    links = {"change": f"/metrics/v1/changes/{version.change}"}
    return NodeReading(**asdict(version) | {"inputs": inputs, "quality": quality, "links": links})

"""`valueloop topics`: the topics of the log in Kafka."""

from typing import Annotated

import typer

from services.cli_operate import administrator
from services.cli_options import DatabaseUrl, Directory, console, settings_with
from services.runtime import build_runtimes, database_urls, wanted_topics
from shared.database.directory import BrokenEnvironment
from shared.log import topics as in_kafka
from shared.log.kafka import Cluster
from shared.settings import Settings

app = typer.Typer()
topics = typer.Typer(no_args_is_help=True, help="Topics in Kafka: compare, make or change, raise partition counts.")
app.add_typer(topics, name="topics")


class NoKafka(BrokenEnvironment):
    """No cluster is named."""


@topics.command("plan")
def plan(data_directory: Directory = None, database_url: DatabaseUrl = None) -> None:
    """Show what `apply` would do. Changes nothing; ends with 1 where there is something to do."""
    steps = _steps(settings_with(data_directory=data_directory, database_url=database_url))
    if steps:
        raise typer.Exit(1)
    console.print("All topics are as they should be.")


@topics.command("apply")
def apply(data_directory: Directory = None, database_url: DatabaseUrl = None) -> None:
    """Make the topics that are missing, raise those that are too narrow, and set their configuration."""
    settings = settings_with(data_directory=data_directory, database_url=database_url)
    steps = _steps(settings)
    in_kafka.apply(_cluster(settings), steps)
    console.print(f"{len(steps)} done." if steps else "All topics are as they should be.")


@topics.command("raise")
def raise_(
    topic: Annotated[str, typer.Argument(help="The topic, such as metrics.readings.")],
    partitions: Annotated[int, typer.Argument(min=2, max=256, help="How many partitions it shall have.")],
    seconds: Annotated[int, typer.Option(min=1, help="How long its readers may take to come to its end [s].")] = 120,
    data_directory: Directory = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Give a topic of the log more partitions, with Kafka or without.

    Nobody can publish to it until its readers have handled what is in it: keep the workers running.
    """
    settings = settings_with(data_directory=data_directory, database_url=database_url)
    owner = topic.split(".", 1)[0]
    with administrator(settings) as admin_url:
        runtimes = build_runtimes(settings, database_urls(settings, admin_url), purpose="worker")
        if owner not in runtimes:
            raise in_kafka.WrongTopics(f"{topic} belongs to no service.", remedy="See `valueloop status`.")
        if settings.kafka_bootstrap:  # first: the log never has a partition that Kafka does not
            cluster = _cluster(settings)
            in_kafka.apply(cluster, in_kafka.plan(cluster, {topic: partitions}))
        in_kafka.raise_partitions(runtimes[owner], runtimes.values(), topic, partitions, seconds)
    console.print(f"{topic} has {partitions} partitions.")


@topics.command("restart")
def restart(data_directory: Directory = None, database_url: DatabaseUrl = None) -> None:
    """Copy all of the log to Kafka again, after Kafka lost it: to empty topics, under another VALUELOOP_KAFKA_PREFIX.

    Workers must be stopped. Readers keep their positions, and drop what they have.
    """
    settings = settings_with(data_directory=data_directory, database_url=database_url)
    with administrator(settings) as admin_url:
        tables = settings.model_copy(update={"kafka_bootstrap": None})
        in_kafka.copy_again(build_runtimes(tables, database_urls(settings, admin_url), purpose="worker").values())
    console.print("Start the workers again; they copy the log from its beginning.")


def _steps(settings: Settings) -> list[in_kafka.Step]:
    with administrator(settings) as admin_url:
        runtimes = build_runtimes(settings, database_urls(settings, admin_url), purpose="worker")
        steps = in_kafka.plan(_cluster(settings), wanted_topics(settings, runtimes.values()))
    for step in steps:
        console.print(f"{step.topic}: {step.what}", markup=False)
    return steps


def _cluster(settings: Settings) -> Cluster:
    if not settings.kafka_bootstrap:
        raise NoKafka("No Kafka cluster is named.", remedy="Set VALUELOOP_KAFKA_BOOTSTRAP, such as kafka-1:9092.")
    return Cluster(settings)

"""A run on the command line: how it is shown and logged, its signals, its exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from crawler.cli.errors import DEFERRED, say
from crawler.spec import BadSpec, CrawlSpec
from storage.model import record

if TYPE_CHECKING:
    import asyncio

    from crawler.engine import Ending, OnProgress
    from crawler.progress import Snapshot
    from crawler.stop import Stop

OPTIONS = (
    click.option(
        "--progress",
        type=click.Choice(["auto", "plain", "none"]),
        default="auto",
        show_default=True,
        help="auto draws on a terminal and prints plain lines elsewhere",
    ),
    click.option(
        "--metrics",
        metavar="[HOST:]PORT",
        help="serve what Prometheus reads, at /metrics; on loopback unless HOST is said",
    ),
    click.option("--log", type=click.Path(path_type=Path), help="append one line for each visit to this file"),
    click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True),
    click.option("--json", "as_json", is_flag=True, help="print the summary as one JSON object on stdout"),
)


@record
class Manner:
    """How a run is shown; what belongs to it and not to the crawl."""

    progress: str
    metrics: str | None
    log: Path | None
    log_format: str
    as_json: bool

    def given_in(self, settings: dict[str, Any]) -> Manner:
        """With the keys of a spec file that are its, which are taken out there; what was typed wins. Raises BadSpec."""
        context = click.get_current_context()
        typed, kinds = context.get_parameter_source, {p.name: p.type for p in context.command.params}
        found = {}
        for name in ("progress", "metrics", "log", "log_format"):
            value = settings.pop(name.replace("_", "-"), settings.pop(name, None))
            if value is not None and typed(name) is not ParameterSource.COMMANDLINE:
                found[name] = _one_of(name, value, kinds[name])
        return replace(self, **found)


def _one_of(name: str, value: Any, kind: Any) -> Any:
    key = name.replace("_", "-")
    if isinstance(kind, click.Choice) and value not in kind.choices:
        raise BadSpec(f"{key}: must be one of {', '.join(kind.choices)}, not {value!r}")
    if name == "metrics":
        return str(value)
    if not isinstance(value, str):
        raise BadSpec(f"{key}: must be the name of a file, not {value!r}")
    return value if isinstance(kind, click.Choice) else Path(value)


def run_options(command: Any) -> Any:
    """The options of every command that runs a crawl; it gets them as ``manner``."""

    @wraps(command)
    def with_manner(**options: Any) -> Any:
        manner = Manner(**{f.name: options.pop(f.name) for f in fields(Manner)})
        return command(manner=manner, **options)

    for option in OPTIONS:
        with_manner = option(with_manner)
    return with_manner


def start(spec: CrawlSpec, file: Path, manner: Manner) -> None:
    """Run to the end with signals, progress and log in place; exit with the ending's code."""
    import asyncio
    import gc
    import sys

    from crawler.api import finished, loop_factory, run_async
    from crawler.log import log as events
    from crawler.stop import Stop

    def note(text: str) -> None:
        say(text)
        if events.hasHandlers():
            events.warning("%s", text)

    if finished(spec, file):
        from crawler.cli import summary

        summary.say_finished(file, manner.as_json, spec)
        return
    stop, signals = Stop(), list[signal.Signals]()
    sys.setswitchinterval(
        0.001
    )  # the store's thread gives the lock back within µs; 5 ms a statement made it the slowest
    gc.freeze()

    async def whole() -> Ending:
        task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _on_signal, number, stop, signals, task)
        async with _shown(manner, note) as show:
            return await run_async(spec, file, stop=stop, on_progress=show, note=note)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            ending = runner.run(whole())
        except asyncio.CancelledError:
            raise click.exceptions.Exit(128 + signals[0]) from None
    from crawler.cli import summary

    summary.print_ending(ending, file, manner.as_json)
    raise click.exceptions.Exit(_code(ending, signals))


@asynccontextmanager
async def _shown(manner: Manner, note: Callable[[str], None]) -> AsyncIterator[OnProgress | None]:
    """The log, and whoever wants to see each snapshot."""
    from crawler.cli.live import view
    from crawler.log import begun, exposed, log_to

    async with AsyncExitStack() as stack:
        publish = None
        if manner.metrics is not None:
            from crawler.metrics import served

            publish = await stack.enter_async_context(served(manner.metrics, note))
        show = stack.enter_context(view(manner.progress))
        stack.enter_context(log_to(manner.log, manner.log_format))
        if manner.log is not None:
            from crawler.versions import versions

            begun(versions())
            if why := exposed(manner.log):
                say(why)
        yield both(publish, show)


def both(first: OnProgress | None, second: OnProgress | None) -> OnProgress | None:
    """A function that calls both of two, as far as there are any."""
    if first is None or second is None:
        return first or second

    def call(snapshot: Snapshot) -> None:
        first(snapshot)
        second(snapshot)

    return call


def _on_signal(
    number: signal.Signals, stop: Stop, signals: list[signal.Signals], task: asyncio.Task[Any] | None
) -> None:
    """Ask once, ask again, and at last just go: what was committed is safe whatever happens."""
    signals.append(number)
    if len(signals) > 2:
        os._exit(128 + number)
    say("stopping: what is in flight may end (8 s); again to stop at once" if len(signals) == 1 else "stopping now")
    if not stop.ask() and task is not None:
        task.cancel()  # it has not begun, or is closing already


def _code(ending: Ending, signals: list[signal.Signals]) -> int:
    if ending.state == "interrupted":
        return 128 + (signals[0] if signals else signal.SIGTERM)  # `crawler control crawl.db stop`
    if not ending.answered:
        return 1
    return DEFERRED if ending.state == "deferred" else 0

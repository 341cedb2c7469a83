"""`crawl`, `resume`, `add`: everything that writes a crawl file."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from crawler.cli.errors import DEFERRED, say
from crawler.cli.options import files, given, read_seeds, spec_options
from crawler.spec import UNSTORED, BadSpec, CrawlSpec, from_mapping, from_toml

if TYPE_CHECKING:
    import asyncio

    from crawler.engine import Ending
    from crawler.stop import Stop

FILE = click.argument("file", type=click.Path(path_type=Path))


def run_options(command: Any) -> Any:
    for option in (
        click.option(
            "--progress",
            type=click.Choice(["auto", "plain", "none"]),
            default="auto",
            show_default=True,
            help="auto draws on a terminal and prints plain lines elsewhere",
        ),
        click.option("--log", type=click.Path(path_type=Path), help="append one line for each visit to this file"),
        click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True),
        click.option("--json", "as_json", is_flag=True, help="print the summary as one JSON object on stdout"),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("seeds", nargs=-1, metavar="SEED...", shell_complete=files)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path),
    default=Path("crawl.db"),
    show_default=True,
    help="the crawl file; the same command again goes on with it",
)
@click.option("--spec", "toml", type=click.Path(path_type=Path), help="settings as TOML; the command line wins")
@spec_options
@run_options
def crawl(
    seeds: tuple[str, ...],
    file: Path,
    toml: Path | None,
    progress: str,
    log: Path | None,
    log_format: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Crawl from SEED... into one SQLite file. SEED is a URL, a file of URLs (# comments), or - for stdin.

    The same command again resumes an unfinished crawl, wherever and however it ended.
    """
    settings = from_toml(toml) if toml else {}
    progress, log, log_format = _of_this_run(settings, progress=progress, log=log, log_format=log_format)
    settings |= given(options)
    settings["seeds"] = unique(read_seeds(list(seeds) or _listed(settings.get("seeds", []))))
    spec = from_mapping(settings)
    if not spec.seeds:
        raise BadSpec("no seed given: name a URL, a file of URLs, or - for stdin")
    start(spec, file, progress, log, log_format, as_json)


@click.command()
@FILE
@spec_options
@run_options
def resume(file: Path, progress: str, log: Path | None, log_format: str, as_json: bool, **options: Any) -> None:
    """Go on with a crawl, with the settings stored in FILE; an option given here overrides from now on."""
    start(resumed(file, options), file, progress, log, log_format, as_json)


def resumed(file: Path, options: dict[str, Any]) -> CrawlSpec:
    """The settings stored in a file, and over them those that were typed."""
    stored = stored_spec(file)
    masked = [h.split(":", 1)[0] for h in stored.pop("header", [])]
    missing = [name for name in masked if not any(h.startswith(name + ":") for h in options.get("header") or ())]
    if missing:
        say(
            f"note: the values of header {', '.join(missing)} are not stored in the file; give --header again to send them"
        )
    return from_mapping(stored | given(options))


@click.command()
@FILE
@click.argument("seeds", nargs=-1, required=True, metavar="SEED...", shell_complete=files)
def add(file: Path, seeds: tuple[str, ...]) -> None:
    """Add seeds to an existing crawl; `crawler resume` then visits them."""
    import asyncio

    from crawler.api import add_seeds

    spec = from_mapping({k: v for k, v in stored_spec(file).items() if k not in UNSTORED}).changed(
        seeds=unique(read_seeds(seeds))
    )
    new = asyncio.run(add_seeds(spec, file))
    say(f"{new} of {len(spec.seeds)} seeds are new; go on with: crawler resume {file}")


def unique(seeds: list[str]) -> list[str]:
    """Each seed once, in the order they came."""
    return list(dict.fromkeys(seeds))


def _of_this_run(settings: dict[str, Any], **options: Any) -> list[Any]:
    """The keys of a spec file that belong to a run and not to the crawl; what was typed wins. Raises BadSpec."""
    context = click.get_current_context()
    typed, kinds = context.get_parameter_source, {p.name: p.type for p in context.command.params}
    for name in options:
        found = settings.pop(name.replace("_", "-"), settings.pop(name, None))
        if found is not None and typed(name) is not ParameterSource.COMMANDLINE:
            options[name] = _one_of(name, found, kinds[name])
    return list(options.values())


def _one_of(name: str, value: Any, kind: Any) -> Any:
    key = name.replace("_", "-")
    if isinstance(kind, click.Choice) and value not in kind.choices:
        raise BadSpec(f"{key}: must be one of {', '.join(kind.choices)}, not {value!r}")
    if not isinstance(value, str):
        raise BadSpec(f"{key}: must be the name of a file, not {value!r}")
    return value if isinstance(kind, click.Choice) else Path(value)


def _listed(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadSpec(f"seeds: must be a list of strings, not {value!r}")
    return value


def stored_spec(file: Path) -> dict[str, Any]:
    """The settings of the file's last run."""
    from storage.reader import open_reader
    from storage.store import StoreUnreadable

    with open_reader(file) as reader:
        run = reader.run()
        if run is None:
            raise StoreUnreadable(f"{file}: no crawl has begun in it")
        return dict(run.spec)


def start(spec: CrawlSpec, file: Path, progress: str, log: Path | None, log_format: str, as_json: bool) -> None:
    """Run to the end with signals, progress and log in place; exit with the ending's code."""
    import asyncio
    import gc
    import sys

    gc.set_threshold(20_000, 20, 20)  # a page makes thousands of objects and hardly a cycle; importing makes more
    from crawler.api import finished, loop_factory, run_async
    from crawler.cli.live import view
    from crawler.log import begun, exposed, log_to
    from crawler.log import log as events
    from crawler.stop import Stop

    def note(text: str) -> None:
        say(text)
        if events.hasHandlers():
            events.warning("%s", text)

    if finished(spec, file):
        from crawler.cli import summary

        summary.say_finished(file, as_json)
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
        with view(progress) as show, log_to(log, log_format):
            if log is not None:
                from crawler.versions import versions

                begun(versions())
                if why := exposed(log):
                    say(why)
            return await run_async(spec, file, stop=stop, on_progress=show, note=note)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            ending = runner.run(whole())
        except asyncio.CancelledError:
            raise click.exceptions.Exit(128 + signals[0]) from None
    from crawler.cli import summary

    summary.print_ending(ending, file, as_json)
    raise click.exceptions.Exit(_code(ending, signals))


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

"""`crawl`, `resume`, `add`: everything that writes a crawl file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from crawler.cli.errors import say
from crawler.cli.options import files, merged, read_seeds, spec_options
from crawler.cli.run import Manner, run_options, start
from crawler.spec import UNSTORED, BadSpec, CrawlSpec, from_mapping, from_toml

FILE = click.argument("file", type=click.Path(path_type=Path))


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
    manner: Manner,
    **options: Any,
) -> None:
    """Crawl from SEED... into one SQLite file. SEED is a URL, a file of URLs (# comments), or - for stdin.

    The same command again resumes an unfinished crawl, wherever and however it ended.
    """
    settings = from_toml(toml) if toml else {}
    manner = manner.given_in(settings)
    settings = merged(settings, options)
    settings["seeds"] = unique(read_seeds(list(seeds) or _listed(settings.get("seeds", []))))
    spec = from_mapping(settings)
    if not spec.seeds:
        raise BadSpec("no seed given: name a URL, a file of URLs, or - for stdin")
    start(spec, file, manner)


@click.command()
@FILE
@spec_options
@run_options
def resume(file: Path, manner: Manner, **options: Any) -> None:
    """Go on with a crawl, with the settings stored in FILE; an option given here overrides from now on."""
    start(resumed(file, options), file, manner)


def resumed(file: Path, options: dict[str, Any]) -> CrawlSpec:
    """The settings stored in a file, and over them those that were typed."""
    stored = stored_spec(file)
    masked = [h.split(":", 1)[0] for h in stored.pop("header", [])]
    missing = [name for name in masked if not any(h.startswith(name + ":") for h in options.get("header") or ())]
    if missing:
        say(
            f"note: the values of header {', '.join(missing)} are not stored in the file; give --header again to send them"
        )
    return from_mapping(merged(stored, options))


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

"""Help, bad usage and settings: what is said before anything is sent (CONTRACT §1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawler.cli.main import COMMANDS, SECTIONS
from crawler.spec import CrawlSpec
from tests.commands import QUICK, cli, sh
from tests.conftest import Serve
from tests.web import Site, page

# --- files


def test_an_exclude_file_is_stored_absolute() -> None:
    """A resume from another folder finds it."""
    assert CrawlSpec(exclude_file="bars.txt").to_json()["exclude_file"] == str(Path("bars.txt").absolute())


@pytest.mark.parametrize(
    "command", ["status", "query", "show", "explain", "export", "report", "resume", "add", "search", "index", "serve"]
)
def test_a_file_that_is_no_crawl_is_exit_2(tmp_path: Path, command: str) -> None:
    """Missing, no database, or empty: exit 2, the path in the sentence, nothing changed or made."""
    more = {
        "query": ["SELECT 1"],
        "show": ["http://x/"],
        "explain": ["http://x/"],
        "export": [tmp_path / "o.csv"],
        "report": ["-o", tmp_path / "o.html"],
        "add": ["http://127.0.0.1/"],
        "search": ["word"],
    }
    letter = tmp_path / "letter.db"
    letter.write_text("dear mother")
    for file in (tmp_path / "missing.db", letter):
        done = sh(command, file, *more.get(command, []))
        assert (done.code, str(file) in done.err, "Traceback" in done.err) == (2, True, False)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.db"]
    assert letter.read_text() == "dear mother"


# --- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str) -> None:
    """--help is exit 0, on stdout, and says what the command does."""
    done = sh(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage: " in done.out


def test_help_says_a_sentence_of_every_command() -> None:
    """Each command stands in one section of `crawler --help`, with a sentence that fits on a line of 80."""
    out = sh("--help").out
    assert sorted(name for commands in SECTIONS.values() for name in commands) == sorted(COMMANDS)
    assert [about for commands in SECTIONS.values() for about in commands.values() if f"{about}\n" not in out] == []


@pytest.mark.parametrize(("arguments", "said"), [
    (["querry"], "No such command 'querry' (did you mean 'query'?)"),
    (["xyzzy"], "No such command 'xyzzy'\n"),
    (["query", "{file}", "broken_links"], "no ready-made question 'broken_links' (did you mean 'broken-links'?); `crawler query"),
    (["query", "{file}", "SELECT * FROM page"], "no such table: page (did you mean 'pages'?), in: SELECT"),
    (["query", "{file}", "SELECT * FROM xyzzy"], "no such table: xyzzy, in: SELECT"),
], ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_a_near_miss_is_named(stored: tuple[Path, str], arguments: list[str], said: str) -> None:
    """A command, question or view that is nearly one that there is: exit 2 and that one's name."""
    done = sh(*(argument.format(file=stored[0]) for argument in arguments))
    assert (done.code, said in done.err) == (2, True), done.err


def test_help_of_crawl_names_defaults_and_units() -> None:
    """Each option of CONTRACT §1 with its default and unit."""
    out = " ".join(sh("crawl", "--help").out.split())
    named = [
        "contact",
        "user-agent",
        "scope",
        "include",
        "exclude",
        "max-depth",
        "max-pages",
        "max-time",
        "delay",
        "per-host",
        "per-ip",
        "ip-delay",
        "connections",
        "workers",
        "robots",
        "patience",
        "min-free",
        "timeout",
        "max-body",
        "max-rate",
        "allow-private",
        "parse-workers",
        "header",
        "proxy",
        "progress",
        "log",
        "log-format",
        "spec",
    ]
    assert [n for n in named if f"--{n} " not in out] == []
    assert [
        d
        for d in (
            "default 1.0, s",
            "default 100, connections",
            "default host",
            "default 60.0, s",
            "default obey",
            "default: auto",
        )
        if d not in out
    ] == []


# --- usage and settings


BAD = [
    (["crawl"], "no seed"),
    (["crawl", "ftp://127.0.0.1/"], "ftp://127.0.0.1/"),
    (["crawl", "http://"], "http://"),
    (["crawl", "example.org"], "https://example.org/"),
    (["crawl", "no-such-file.txt"], "no-such-file.txt"),
    (["crawl", "http://127.0.0.1/", "--delay", "-1"], "delay"),
    (["crawl", "http://127.0.0.1/", "--delay", "soon"], "soon"),
    (["crawl", "http://127.0.0.1/", "--scope", "world"], "world"),
    (["crawl", "http://127.0.0.1/", "--include", "("], "include"),
    (["crawl", "http://127.0.0.1/", "--wrong", "1"], "--wrong"),
    (["crawl", "http://127.0.0.1/", "--header", "no colon"], "header"),
    (["crawl", "http://127.0.0.1/", "--spec", "missing.toml"], "missing.toml"),
    (["crawl", "http://127.0.0.1/", "--extractor", "no.such:thing"], "no.such"),
    (["crawl", "http://127.0.0.1/", "--log", "/no/such/l.log"], "log /no/such/l.log: No such file"),
    (["crawl", "http://127.0.0.1/", "--log", "/tmp"], "log /tmp: Is a directory"),
    (["crawl", "http://127.0.0.1/", "--robots", "ignore", "--sitemaps", "only"], "sitemaps: "),
    (["wrong"], "wrong"),
    pytest.param(
        ["crawl", "http://127.0.0.1/", "--allow-private", "nonsense"],
        "nonsense",
    ),
    pytest.param(
        ["crawl", "http://127.0.0.1/", "--proxy", "nonsense"],
        "proxy",
    ),
    (["crawl", "https://example.org/"], "contact"),
    (["crawl", "http://192.168.1.1/"], "contact"),
    (["crawl", "https://127.0.0.1.example.org/"], "contact"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=lambda v: " ".join(v)[:50] if isinstance(v, list) else None)
def test_exit_2_bad_usage_names_what_is_wrong(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Exit 2, a sentence that names the culprit, no traceback, no crawl in the file; a missing contact too (test_l5)."""
    done = sh(
        *arguments,
        *(["-o", tmp_path / "crawl.db", "--max-time", "2", "--patience", "0"] if arguments[0] == "crawl" else []),
    )
    assert (done.code, said in done.err, "Traceback" in done.err) == (2, True, False), done.err


async def test_l5_without_contact_nothing_is_sent(serve: Serve, crawl_file: Path) -> None:
    """One seed that is not loopback is enough to ask for a contact: 0 requests, also to the others."""
    web = await serve(Site({"/": page()}))
    done = await cli("crawl", web.url(), "http://192.0.2.1/", "-o", crawl_file, *QUICK)
    assert (done.code, web.requests, crawl_file.exists()) == (2, [], False)
    assert "--contact" in done.err


async def test_l5_the_contact_is_sent(serve: Serve, crawl_file: Path) -> None:
    """The user agent is poolcrawl/VERSION (+contact), and From where it is a mail address."""
    web = await serve(Site({"/": page()}))
    await cli("crawl", web.url(), "-o", crawl_file, *QUICK, "--contact", "me@example.org")
    assert {(r.headers["user-agent"], r.headers.get("from")) for r in web.requests} == {
        ("poolcrawl/0.1.0 (+me@example.org)", "me@example.org")
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dealy = 2", "did you mean 'delay'"),
        ("delay = 'fast'", "delay"),
        ("delay = ", "spec.toml"),
        ("log = 5", "log: must be the name of a file, not 5"),
        ("log-format = 'xml'", "log-format: must be one of text, json"),
        ("progress = 'foo'", "progress: must be one of auto, plain, none"),
        ("progress = ['auto']", "progress: must be one of"),
        ("seed = ['http://127.0.0.1/']", "did you mean 'seeds'"),
        pytest.param(
            "seeds = 7",
            "seeds",
        ),
    ],
)
def test_toml_mistakes_are_named(tmp_path: Path, line: str, said: str) -> None:
    """An unknown key with its near miss, a wrong type, bad TOML: exit 2."""
    spec = tmp_path / "spec.toml"
    spec.write_text(line + "\n")
    done = sh(
        "crawl", *(["http://127.0.0.1/"] if "seed" not in line else []), "--spec", spec, "-o", tmp_path / "crawl.db"
    )
    assert (done.code, said in done.err) == (2, True)


async def test_toml_and_command_line_and_seed_file(serve: Serve, tmp_path: Path) -> None:
    """The command line wins over the TOML; seeds may come from a file with comments, or from stdin."""
    web = await serve(Site({"/": page("/a"), "/a": page("/b"), "/b": page()}))
    (tmp_path / "spec.toml").write_text("max-depth = 0\ndelay = 0\nparse_workers = 0\n")
    (tmp_path / "seeds.txt").write_text(f"# mine\n\n{web.url()}  # the first\n")
    done = await cli(
        "crawl", tmp_path / "seeds.txt", "--spec", tmp_path / "spec.toml", "--max-depth", 1, "-o", tmp_path / "a.db"
    )
    assert (done.code, [r.path for r in web.requests]) == (0, ["/robots.txt", "/", "/a"])
    await cli("crawl", "-", "--spec", tmp_path / "spec.toml", "-o", tmp_path / "b.db", stdin=web.url("/b"))
    assert web.requests[-1].path == "/b"

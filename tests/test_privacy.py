"""Secrets stay out of the file, the log and the terminal; what we write is its owner's only; nothing unpickles."""

from __future__ import annotations

import ast
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.spec import BadSpec, CrawlSpec, from_mapping
from crawler.text import discreet, without_userinfo
from tests.commands import QUICK, cli, sh
from tests.conftest import Serve
from tests.crawls import ask, run
from tests.web import Answer, Request, Site, page

ROOT = Path(__file__).resolve().parent.parent
CANARY = "CANARY"
HIDDEN = "&#67;ANARY"  # in a page's source: what the file keeps of the page is the page's own
FORBIDDEN = {"pickle", "cPickle", "marshal", "shelve", "dbm", "dill", "joblib", "yaml", "jsonpickle", "cloudpickle"}


async def test_v1_no_credential_is_in_the_file_the_log_or_the_terminal(serve: Serve, tmp_path: Path) -> None:
    """Userinfo of links, redirects and seeds, --header values, cookies: 0 occurrences in db, wal, log, stdout, stderr. Query
    values of a token are in the file, as they are needed to fetch, and nowhere else."""
    web = await serve(Site({}))
    bare = web.url()[len("http://"):-1]
    web.handlers[0].update({  # type: ignore[attr-defined]
        "/": Answer(body=page(f"http://me:{HIDDEN}1@{bare}/a", "/?token=QUERYCANARY", f"//{HIDDEN}2@{bare}/b").encode(),
                    headers=(("Content-Type", "text/html"), ("Set-Cookie", f"id={CANARY}3; Path=/"),
                             ("Link", f"<http://u:{CANARY}4@{bare}/c>; rel=next"),
                             ("Authorization", f"Basic {CANARY}5"))),
        "/?token=QUERYCANARY": Answer(302, headers=(("Location", f"http://u:{CANARY}6@{bare}/d"),)),
        "/a": page(), "/b": page(), "/c": page(), "/d": page(),
    })
    file, log = tmp_path / "crawl.db", tmp_path / "crawl.log"
    done = await cli("crawl", f"http://u:{CANARY}7@{bare}/", "-o", file, "--delay", "0", "--parse-workers", "1",
                     "--header", f"Authorization: Bearer {CANARY}8", "--log", log, "--progress", "plain", "--json")
    assert done.code == 0, done.err
    assert len(ask(file, "SELECT * FROM pages")) == 5
    assert {r.headers.get("authorization") for r in web.requests} == {f"Bearer {CANARY}8"}
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()} | {
        "stdout": done.out.encode(), "stderr": done.err.encode(), "status": sh("status", file).out.encode()}
    for name, text in written.items():
        assert CANARY.encode() not in text.replace(b"QUERYCANARY", b""), name
        assert (b"QUERYCANARY" in text) == (name == "crawl.db"), name
    assert "?token=…" in log.read_text("utf-8")


@pytest.mark.parametrize("key", ["token", "access_token", "csrf-token", "key", "api_key", "apikey", "sig", "signature",
                                 "password", "passwd", "pwd", "session", "sessionid", "PHPSESSID", "sid", "auth",
                                 "client_secret", "jwt", "code", "X-Amz-Signature", "X-Amz-Credential", "otp"])
def test_v1_values_of_these_keys_are_not_shown(key: str) -> None:
    """In logs and summaries the value is …, wherever the key stands; the rest of the URL is shown."""
    for text in (f"http://h.test/p?{key}=VALUE&a=1", f"http://h.test/p?a=1&{key}=VALUE", f"http://h.test/a=1;{key}=VALUE"):
        assert "VALUE" not in discreet(text)
        assert "a=1" in discreet(text)
    assert discreet("http://h.test/?page=2&inside=x&q=y") == "http://h.test/?page=2&inside=x&q=y"


@pytest.mark.parametrize(("text", "bare"), [
    ("http://u:p@h.test/a@b", "http://h.test/a@b"), ("//u@h/", "//h/"), ("<http://a@b@h/>; rel=next", "<http://h/>; rel=next"),
    ("5; url=https://u:p@h/", "5; url=https://h/"), ("http://h/?m=//x@y", "http://h/?m=//y"), ("mailto:a@b", "mailto:a@b")])
def test_v1_userinfo_is_taken_out_of_text(text: str, bare: str) -> None:
    """Whatever surrounds the URL."""
    assert without_userinfo(text) == bare


def test_v1_the_stored_settings_hold_no_password() -> None:
    """A proxy's user and password, header values, a seed's userinfo; a resume without them is refused, not sent bare."""
    spec = CrawlSpec(seeds=("http://u:CANARY@h.test/",), proxy="http://me:CANARY@proxy.test:3128", header=("K: CANARY",))
    stored = spec.to_json()
    assert "CANARY" not in json.dumps(stored)
    assert (stored["proxy"], stored["seeds"]) == ("http://…@proxy.test:3128", ["http://h.test/"])
    with pytest.raises(BadSpec, match="not stored in the file; give --proxy again"):
        from_mapping(stored | {"header": []})


@pytest.mark.parametrize("userinfo", ['user:pa"ssCANARY', "\\user:CANARY", "u:<CANARY>", "u:CANARY#x", "u:pa?CANARY",
                                      "u:CANARY x", "u:p#CANARY" + "x" * 120, "u:#CANARY"])
async def test_v1_u9_no_sign_in_a_password_brings_it_into_the_file(serve: Serve, tmp_path: Path, userinfo: str) -> None:
    """Quotes, backslashes, # and blanks in a seed's password: 0 occurrences in the file and in messages; resume goes on."""
    web = await serve(Site({"/": page()}))
    seed = web.url().replace("//", f"//{userinfo}@")
    assert CANARY not in discreet(seed) + json.dumps(CrawlSpec(seeds=(seed,)).to_json())
    done = await cli("crawl", seed, "-o", tmp_path / "crawl.db", *QUICK)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir()) + done.err.encode()
    assert CANARY.encode() not in written
    if done.code == 0:
        assert ask(tmp_path / "crawl.db", "SELECT json_extract(spec, '$.seeds[0]') FROM run") == [(web.url(),)]
        assert (await cli("resume", tmp_path / "crawl.db")).code == 0
    assert discreet("http://h.test/@name?m=a@b") == "http://h.test/@name?m=a@b"


@pytest.mark.parametrize("password", ['pa"ssCANARY', "pa#CANARY", "12#CANARY", "?CANARY", "\\CANARY"])
def test_v1_a_proxys_password_is_written_with_percent_signs(password: str) -> None:
    """What would end the password somewhere else is refused, with what to write, and without the password."""
    with pytest.raises(BadSpec, match="%23 %3F %22 and %5C") as caught:
        CrawlSpec(proxy=f"http://u:{password}@127.0.0.1:8811")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("password", ["12/CANARY", "<CANARY>", "CANARY@CANARY", "a'CANARY"])
def test_v1_all_before_a_proxys_last_at_is_hidden(password: str) -> None:
    """In the stored settings and in the message that refuses it."""
    try:
        shown = str(CrawlSpec(proxy=f"http://u:{password}@127.0.0.1:8811").to_json()["proxy"])
    except BadSpec as error:
        shown = str(error)
    assert "http://…@127.0.0.1:8811" in shown
    assert CANARY not in shown


@pytest.mark.parametrize("option", [{"proxy": "socks://u:CANARY@h"}, {"header": ("Authorization CANARY",)}])
def test_v1_an_error_does_not_repeat_the_secret(option: dict[str, object]) -> None:
    """What is wrong is said without its value."""
    with pytest.raises(BadSpec) as caught:
        CrawlSpec(**option)  # type: ignore[arg-type]
    assert "CANARY" not in str(caught.value)


async def test_v2_no_cookie_is_ever_sent_back_or_stored(serve: Serve, crawl_file: Path) -> None:
    """Cookies are off: what a server sets is neither returned to it nor kept."""
    def answer(request: Request) -> Answer:
        return Answer(body=page("/a", "/b").encode(), headers=(("Content-Type", "text/html"), ("Set-Cookie", "id=CANARY")))

    web = await serve(Site({"/": answer, "/a": answer, "/b": answer, "/robots.txt": answer}))
    await run(web, crawl_file)
    assert len(web.requests) == 4
    assert all("cookie" not in r.headers for r in web.requests)
    assert all("CANARY" not in (headers or "") for (headers,) in ask(crawl_file, "SELECT headers FROM fetch"))


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted([*ROOT.glob("crawler/**/*.py"), *ROOT.glob("storage/**/*.py")]):
        yield path, ast.parse(path.read_text("utf-8"))


def test_v2_nothing_can_unpickle() -> None:
    """No module that turns bytes into objects of any class is imported; eval and exec are not called; there is no
    cookie jar, nor a session that would bring one."""
    found, jars = set(), set()
    for path, tree in trees():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {(path.name, name) for name in names if name.partition(".")[0] in FORBIDDEN}
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                found.add((path.name, node.func.id))
            if isinstance(node, ast.Attribute | ast.Name):
                name = getattr(node, "attr", getattr(node, "id", ""))
                jars |= {name} if name.endswith(("CookieJar", "ClientSession")) else set()
    assert (found, jars) == (set(), set())


async def test_v3_the_log_and_the_file_are_their_owners_only(serve: Serve, tmp_path: Path) -> None:
    """0600 for everything a crawl writes, whatever the umask; a file that others may read already is named at the start."""
    web = await serve(Site({"/": page()}))
    old = os.umask(0)
    try:
        done = await cli("crawl", web.url(), "-o", tmp_path / "crawl.db", "--log", tmp_path / "crawl.log", *QUICK)
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert modes.keys() >= {"crawl.db", "crawl.db.lock", "crawl.log"}
    assert "can be read" not in done.err
    for name in ("crawl.db", "crawl.log"):
        (tmp_path / name).chmod(0o644)
    done = await cli("crawl", web.url("/new"), "-o", tmp_path / "crawl.db", "--log", tmp_path / "crawl.log", *QUICK)
    for name in ("crawl.db", "crawl.log"):
        assert f"{name} can be read by others (mode 0644); chmod 600" in done.err

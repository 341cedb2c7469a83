"""TLS: verified, never fallen back from, its failures named; and what becomes of a way from https to http (FAULTS H17, U3)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crawler.api import run_async
from crawler.fetch.http import Deadlines
from crawler.fetch.pool import FetchPool
from crawler.fetch.tls import late_authorities
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import RETRY, Fault, Outcome, Visit
from storage import open_reader
from tests import hostile
from tests.hostile import Hostile
from tests.web import Site, Web, page, redirect

LONG = Deadlines(total=5)
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def _client(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def _issued(authority: trustme.CA, *names: str, **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("127.0.0.1",)), **options).configure_cert(context)
    return context


def _made(folder: Path, *usage: x509.ObjectIdentifier, signed_by: trustme.CA | None = None) -> ssl.SSLContext:
    """A certificate that trustme does not make: self-signed, or for another use."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    issuer, signer = name, key
    if signed_by is not None:
        issuer = x509.load_pem_x509_certificate(signed_by.cert_pem.bytes()).subject
        loaded = serialization.load_pem_private_key(signed_by.private_key_pem.bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer = loaded
    builder = x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number(), NOW - DAY, NOW + DAY)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = builder.add_extension(names, critical=False)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    made, kept = builder.sign(signer, hashes.SHA256()), folder / "made.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    kept.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(kept)
    return context


async def _fetch(server: ssl.SSLContext, authority: trustme.CA) -> tuple[Outcome, Hostile]:
    async with Hostile(hostile.echo, tls=server) as site:
        async with FetchPool(CrawlSpec(), [split(site.url())], deadlines=LONG, ssl_context=_client(authority)) as pool:
            return await pool.fetch(Visit(site.url("/tls"), split(site.url("/tls")))), site


BAD: dict[str, tuple[Callable[[trustme.CA, Path], ssl.SSLContext], str]] = {
    "expired": (lambda ca, _: _issued(ca, not_after=datetime(2020, 1, 1, tzinfo=UTC)), "certificate has expired"),
    "not yet valid": (lambda ca, _: _issued(ca, not_before=NOW + DAY, not_after=NOW + 9 * DAY), "not yet valid"),
    "another name's": (lambda ca, _: _issued(ca, "127.0.0.2"), "ip address mismatch"),
    "a stranger's": (lambda ca, _: _issued(trustme.CA()), "unable to get local issuer"),
    "self-signed": (lambda ca, folder: _made(folder), "self-signed"),
    "for clients": (
        lambda ca, folder: _made(folder, ExtendedKeyUsageOID.CLIENT_AUTH, signed_by=ca), "unsuitable certificate purpose"
    ),
}  # fmt: skip


async def test_h17_a_good_certificate_passes() -> None:
    """Signed by an authority that is trusted, for this address, in its time."""
    authority = trustme.CA()
    outcome, _ = await _fetch(_issued(authority), authority)
    assert (outcome.status, outcome.body) == (200, b"/tls")


@pytest.mark.parametrize("kind", BAD)
async def test_h17_bad_certificates_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    """Six bad certificates: each is `tls: <reason>` in OpenSSL's words, and not one request reaches the server."""
    authority = trustme.CA()
    make, words = BAD[kind]
    outcome, server = await _fetch(make(authority, tmp_path), authority)
    assert (outcome.fault, outcome.status) == (Fault.TLS, None)
    assert outcome.reason.startswith("tls: ")
    assert words in outcome.reason.lower().replace("self signed", "self-signed")
    assert server.requests == []


async def test_h17_a_server_without_tls_is_a_tls_fault() -> None:
    """https to a server that speaks plain HTTP fails and is not tried without TLS."""
    async with Hostile(hostile.speaks_first) as server:
        url = server.url().replace("http", "https")
        async with FetchPool(CrawlSpec(), [split(url)], deadlines=LONG) as pool:
            assert (await pool.fetch(Visit(url, split(url)))).fault is Fault.TLS
    assert not server.requests


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """The one authority this system trusts, as OpenSSL is told: by the environment."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    return authority


@pytest.mark.parametrize(("stranger", "fault"), [(False, None), (True, Fault.TLS)])
async def test_h17_authorities_are_loaded_with_the_first_connection(
    system: trustme.CA, stranger: bool, fault: Fault | None
) -> None:
    """A context made as aiohttp's is when it is imported: it trusts nobody before it is used, then whom the system trusts."""
    with late_authorities():
        context = ssl.create_default_context()
    assert context.cert_store_stats()["x509_ca"] == 0
    async with Hostile(hostile.echo, tls=_issued(trustme.CA() if stranger else system)) as site:
        async with FetchPool(CrawlSpec(), [split(site.url())], deadlines=LONG, ssl_context=context) as pool:
            assert (await pool.fetch(Visit(site.url(), split(site.url())))).fault is fault
    assert context.cert_store_stats()["x509_ca"] == 1


def test_h17_late_authorities_are_loaded_for_sockets_too_and_only_late_ones_are_late(system: trustme.CA) -> None:
    """Whoever shares the process finds the `ssl` module as it was, and a context of a class of its own is not touched."""

    class Own(ssl.SSLContext):
        pass

    own = Own(ssl.PROTOCOL_TLS_CLIENT)
    with late_authorities():
        context = ssl.create_default_context()
        own.load_default_certs()
    with socket.socket() as plain:
        context.wrap_socket(plain, server_hostname="localhost").close()
    contexts = (context, own, ssl.create_default_context())
    found = [(type(c), c.cert_store_stats()["x509_ca"]) for c in contexts]
    assert found == [(ssl.SSLContext, 1), (Own, 1), (ssl.SSLContext, 1)]


# --- in a crawl


TWO_CRAWLS = """
import sys
from crawler.api import run
from crawler.spec import CrawlSpec

for number, seed in enumerate(sys.argv[2:]):
    spec = CrawlSpec(seeds=(seed,), robots="ignore", delay=0.0, patience=0.0, parse_workers=0)
    found = run(spec, sys.argv[1] + str(number))
    from aiohttp.connector import _SSL_CONTEXT_UNVERIFIED, _SSL_CONTEXT_VERIFIED

    contexts = (_SSL_CONTEXT_VERIFIED, _SSL_CONTEXT_UNVERIFIED)
    print(found.counts.pages, *(context.cert_store_stats()["x509_ca"] for context in contexts))
"""


async def test_h17_a_crawl_loads_the_systems_authorities_when_it_meets_https(
    system: trustme.CA, crawl_file: Path
) -> None:
    """With aiohttp's own context: a crawl of plain http never loads them, one of https does, and trusts them."""
    async with Hostile(hostile.echo) as plain, Hostile(hostile.echo, tls=_issued(system)) as site:
        command = (sys.executable, "-c", TWO_CRAWLS, str(crawl_file), plain.url("/a"), site.url("/b"))
        crawling = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert (await crawling.communicate())[0].splitlines() == [b"1 0 0", b"1 1 0"]


@contextmanager
def _trusting(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("crawler.fetch.pool.FetchPool", partial(FetchPool, ssl_context=_client(authority)))
    yield


async def _crawl(file: Path, *seeds: str, **options: Any) -> None:
    settings: dict[str, Any] = {"delay": 0.0, "patience": 0.2, "parse_workers": 0, "robots": "ignore"}
    async with asyncio.timeout(15):
        await run_async(CrawlSpec(seeds=seeds, **{**settings, **options}), file)


def _ask(file: Path, sql: str) -> list[tuple[Any, ...]]:
    with open_reader(file) as reader:
        return list(reader.query(sql)[1])


async def test_h17_a_bad_certificate_ends_the_visit(crawl_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file: failure `tls` with OpenSSL's words, not tried again within a day; nothing is sent."""
    assert RETRY["tls"].tries == 1 or min(RETRY["tls"].waits) >= 86_400
    authority = trustme.CA()
    with _trusting(authority, monkeypatch):
        async with Web(Site({"/": page()}), tls=_issued(authority, "127.0.0.9")) as web:
            await _crawl(crawl_file, web.url())
            assert (web.requests, web.connections <= 1) == ([], True)
    [(reason, detail, attempts)] = _ask(crawl_file, "SELECT reason, detail, attempts FROM url WHERE outcome = 'failure'")
    assert (reason, attempts) == ("tls", 1)
    assert "mismatch" in detail


async def test_u3_a_way_from_https_to_http_is_recorded(crawl_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`redirects` says downgrade = 1 for https → http and 0 for others; followed only in scope, without secrets."""
    authority = trustme.CA()
    async with Web(Site({"/": page(), "/a": page()})) as plain:
        out = f"http://127.0.1.2:{plain.port}/"
        moves = {"/": page("/1", "/2", "/3"), "/1": redirect(plain.url("/a")), "/2": redirect(out), "/3": redirect("/4")}
        with _trusting(authority, monkeypatch):
            async with Web(Site({**moves, "/4": page()}), tls=_issued(authority, "127.0.1.1")) as web:
                await _crawl(crawl_file, web.url(), header=("X-Api-Key: secret",), scope="any", exclude=("127.0.1.2",),
                             allow_private=("127.0.1.0/24",))  # fmt: skip
                found = _ask(crawl_file, "SELECT src, dst, downgrade FROM redirects ORDER BY 1")
                assert found == [
                    (web.url("/1"), plain.url("/a"), 1), (web.url("/2"), out, 1), (web.url("/3"), web.url("/4"), 0)
                ]  # fmt: skip
                assert {r.headers.get("x-api-key") for r in web.requests} == {"secret"}
        assert [(r.path, r.headers.get("x-api-key")) for r in plain.requests] == [("/a", None)]
    assert _ask(crawl_file, f"SELECT url FROM skipped WHERE url = '{out}'") == [(out,)]

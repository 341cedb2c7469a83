"""Politeness as rules: how long a host rests, what blocks it, when a failure is tried again. Pure; told the time in s.

Sources: RFC 9309 (robots.txt), RFC 9110 §10.2.3 (Retry-After), docs/politeness.md for what we promise webmasters.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime

from crawler.spec import CrawlSpec
from crawler.visit import RETRY, Charge, Fault, Outcome
from storage.model import record

DAY = 86_400.0
ROBOTS_FRESH = DAY  # RFC 9309 §2.4: not longer than 24 hours
ROBOTS_RETRY = 300.0  # an unreachable robots.txt is asked for again after 5 min, doubling up to a day
ROBOTS_TRIES = 38  # failures in a row that take 30 days at least, and then it counts as absent (RFC 9309 §2.3.1.4)
CRAWL_DELAY_MOST = 300.0  # seconds: a host that asks for more is left alone altogether
BREAKER_AT = 5  # requests in a row without an answer
BREAKER_FIRST, BREAKER_MOST = 60.0, 3600.0
THROTTLED_FIRST, THROTTLED_MOST = 30.0, 3600.0  # 429 or 503 without Retry-After
ADAPTIVE_MOST = 30.0  # seconds the answer times alone can make of a delay
SLOWED_LEAST, SLOWED_MOST, RECOVERY = 1.0, 60.0, 0.9  # seconds; of a storm of server errors (FAULTS N5)
ERRORS_OF, REDIRECTS_OF = 20, 200  # answers looked back at
REDIRECTING = 4.0  # times the delay, where most answers are redirects (FAULTS U4)


@record
class Standing:
    """How a host has been answering. ``errors`` and ``redirects`` hold a bit for each of its last answers."""

    latency: float = 0.0  # s from a request to the head of its answer, smoothed; 0: not known
    slowed: float = 0.0  # s: the delay a storm of server errors has led to
    failures: int = 0  # in a row, nobody answered
    throttled: int = 0  # in a row, 429 or 503
    errors: int = 0
    redirects: int = 0

    @property
    def probation(self) -> bool:
        """Nobody has answered for so long that one request at a time is enough to find out (FAULTS N3)."""
        return self.failures >= BREAKER_AT

    @property
    def doubtful(self) -> bool:
        """Nobody has answered there yet, or nobody does any more."""
        return self.failures > 0 or not self.latency

    @property
    def redirecting(self) -> bool:
        return self.redirects.bit_count() * 2 > REDIRECTS_OF

    @property
    def trouble(self) -> str:
        """What is wrong with the host, in words; "" when nothing is."""
        found = []
        if self.failures >= BREAKER_AT:
            found.append(f"no answer to {self.failures} requests in a row")
        if self.throttled:
            found.append(f"{self.throttled} times in a row it answered 429 or 503")
        if self.slowed:
            found.append(f"server errors: a request each {self.slowed:.1f} s")
        if self.redirecting:
            found.append(f"most answers are redirects: {REDIRECTING:g} times the delay")
        return "; ".join(found)

    def after(self, outcome: Outcome, base: float, *, blocked: bool) -> Standing:
        """The standing after this outcome. ``base``: its delay in s when it behaves. ``blocked``: it is being left alone
        already, so this was in flight when that began, and makes nothing worse a second time."""
        if outcome.status is None:
            if outcome.fault is Fault.OFFLINE:  # excused, and no witness any more until it answers
                return replace(self, failures=max(self.failures, 1))
            if not connect_failed(outcome):
                return self
            late = outcome.elapsed_ms / 1000 if outcome.fault is Fault.TIMEOUT else 0.0
            return replace(self, failures=self.failures + (not blocked), latency=self._latency(late, False))
        status = outcome.status
        throttled = status in (429, 503)
        errors = _shifted(self.errors, status >= 500, ERRORS_OF)
        slowed = self.slowed
        if status >= 500 and errors.bit_count() * 2 > ERRORS_OF:
            slowed = min(2 * max(slowed, base, SLOWED_LEAST), SLOWED_MOST)
        elif status < 500 and not throttled:
            slowed *= RECOVERY
        return Standing(
            latency=self._latency(outcome.latency or 0.0, 200 <= status < 400),
            slowed=slowed if slowed > max(base, SLOWED_LEAST) else 0.0,
            throttled=self.throttled + (not blocked) if throttled else 0 if status < 500 else self.throttled,
            errors=errors,
            redirects=_shifted(self.redirects, 300 <= status < 400 and status != 304, REDIRECTS_OF),
        )

    def _latency(self, new: float, good: bool) -> float:
        """Smoothed as Scrapy's AutoThrottle does; an error may come quickly, and never speeds us up."""
        smoothed = (self.latency + new) / 2 if self.latency else new
        return smoothed if good and new else max(self.latency, smoothed)


def _shifted(bits: int, bit: bool, length: int) -> int:
    return (bits << 1 | bit) & ((1 << length) - 1)


UNKNOWN = Standing()


def base_delay(spec: CrawlSpec, crawl_delay: float | None, host: str = "") -> float:
    """The longer of the host's setting and the site's Crawl-delay, in s. One beyond what we wait closes the host instead."""
    asked = crawl_delay or 0.0
    return max(spec.delay_at(host), asked if asked <= CRAWL_DELAY_MOST else 0.0)


def delay_of(spec: CrawlSpec, crawl_delay: float | None, standing: Standing = UNKNOWN, host: str = "") -> float:
    """Seconds between two request starts at a host: the longest of the setting, the site's Crawl-delay, a multiple of its
    answer time, and what its errors have led to. Who sets the delay to 0 means it: then answer times do not count."""
    base = base_delay(spec, crawl_delay, host)
    usual = min(spec.adaptive * standing.latency, ADAPTIVE_MOST) if spec.delay_at(host) > 0 else 0.0
    delay = max(base, usual, standing.slowed)
    return max(delay, min(delay * REDIRECTING, SLOWED_MOST)) if standing.redirecting else delay


def closed(spec: CrawlSpec, crawl_delay: float | None, host: str = "") -> str:
    """Why a host is left alone altogether, or "": it asks for more patience than a crawl has (FAULTS L3)."""
    if crawl_delay is None or crawl_delay <= max(CRAWL_DELAY_MOST, spec.delay_at(host)) or spec.robots != "obey":
        return ""
    return f"Crawl-delay: {crawl_delay:g} s, and we wait {CRAWL_DELAY_MOST:g} s at most; a --delay as long accepts it"


def retry_after(value: str | None, wall: float) -> float | None:
    """Seconds a Retry-After header asks for, both forms (RFC 9110 §10.2.3), clamped to 1 s .. 24 h; None: no header.

    ``wall`` is the Unix time in seconds that an HTTP date is measured against.
    """
    if not value:
        return None
    text = value.strip()
    if re.fullmatch(r"-?[0-9]+", text):
        wait = float(text[:9])  # thirty years are clamped like thirty thousand
    else:
        try:
            when = parsedate_to_datetime(text)
            wait = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - wall
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(wait, 1.0), DAY)


def block_of(outcome: Outcome, standing: Standing, wall: float) -> float | None:
    """Seconds the whole host is left alone after this outcome; None: just its delay. ``standing``: with this outcome."""
    if outcome.status in (429, 503):
        asked = retry_after(outcome.header("retry-after"), wall)
        return asked if asked is not None else _doubled(THROTTLED_FIRST, standing.throttled - 1, THROTTLED_MOST)
    if connect_failed(outcome) and standing.probation:
        return _doubled(BREAKER_FIRST, standing.failures - BREAKER_AT, BREAKER_MOST)
    return None


def _doubled(first: float, times: int, most: float) -> float:
    return min(first * 2.0 ** min(max(times, 0), 20), most)


def connect_failed(outcome: Outcome) -> bool:
    """Whether nobody answered, and it is the host's doing. A name that does not exist is nobody's host: there is nothing
    to spare, and its URLs shall fail in time (FAULTS N2)."""
    if outcome.fault is None or outcome.fault is Fault.DNS_NXDOMAIN:
        return False
    rule = RETRY.get(outcome.fault.value)
    return rule is not None and rule.charge is Charge.HOST


def retry_in(reason: str, attempts: int) -> float | None:
    """Seconds until the next try after ``attempts`` tries ended with ``reason``; None: it is final."""
    rule = RETRY.get(reason.split(":", 1)[0])
    if rule is None or attempts >= rule.tries:
        return None
    return rule.waits[min(attempts - 1, len(rule.waits) - 1)] if rule.waits else None


def charged(reason: str) -> bool:
    """Whether an attempt that ended so counts against its URL (our own disk's or network's faults do not)."""
    rule = RETRY.get(reason.split(":", 1)[0])
    return rule is None or rule.charge in (Charge.HOST, Charge.URL)


def robots_retry(failures: int) -> float:
    """Seconds until an unreachable robots.txt is asked for again, after so many failures in a row."""
    return min(ROBOTS_RETRY * float(2 ** min(failures - 1, 10)), DAY)

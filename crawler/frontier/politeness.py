"""Politeness as rules: how long a host rests, what blocks it, when a failure is tried again. Pure; told the time in s.

Sources: RFC 9309 (robots.txt), RFC 9110 §10.2.3 (Retry-After), docs/politeness.md for what we promise webmasters.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from crawler.spec import CrawlSpec
from crawler.visit import RETRY, Charge, Outcome

DAY = 86_400.0
ROBOTS_FRESH = DAY  # RFC 9309 §2.4: not longer than 24 hours
ROBOTS_RETRY = 300.0  # an unreachable robots.txt is asked for again after 5 min, doubling up to a day
CRAWL_DELAY_MOST = 300.0  # seconds: a longer Crawl-delay counts as this
BREAKER_AT = 5  # consecutive failures to connect
BREAKER_FIRST, BREAKER_MOST = 60.0, 3600.0


def delay_of(spec: CrawlSpec, crawl_delay: float | None) -> float:
    """Seconds between two request starts at a host: the longer of the setting and the site's Crawl-delay."""
    return max(spec.delay, min(crawl_delay or 0.0, CRAWL_DELAY_MOST))


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


def block_of(outcome: Outcome, failures: int, wall: float) -> float | None:
    """Seconds the whole host is left alone after this outcome; None: just its delay. ``failures``: to connect, in a row."""
    if outcome.status in (429, 503):
        asked = retry_after(outcome.header("retry-after"), wall)
        return asked if asked is not None else 30.0
    if connect_failed(outcome) and failures >= BREAKER_AT:
        doublings = (failures - BREAKER_AT) // BREAKER_AT
        return float(min(BREAKER_FIRST * 2 ** min(doublings, 10), BREAKER_MOST))
    return None


def connect_failed(outcome: Outcome) -> bool:
    """Whether nobody answered at all, and it is the host's doing."""
    if outcome.fault is None:
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

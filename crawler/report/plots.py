"""Plots as inline SVG: columns, bars and a line. Each carries its figures as text, so that no script and no eye is needed."""

from __future__ import annotations

from collections.abc import Sequence

from crawler.report.markup import Safe, tag
from crawler.text import printable

WIDE, HIGH = 400, 220  # units of the drawing; on a phone one unit is about one pixel
TOP, FLOOR, LEFT = 22, 180, 40

Rows = Sequence[tuple[str, float]]


def columns(title: str, rows: Rows, axis: str) -> Safe:
    """A histogram: one column for each (label, count), side by side."""
    most, step = max([n for _, n in rows], default=0) or 1, WIDE / max(len(rows), 1)
    parts = []
    for i, (label, n) in enumerate(rows):
        tall, middle = (FLOOR - TOP) * n / most, round((i + 0.5) * step, 1)
        parts += [
            _box(i * step + 3, FLOOR - tall, step - 6, tall),
            _text(middle, FLOOR - tall - 5, short(n) if n else "", "value"),
            _text(middle, FLOOR + 15, label, "label"),
        ]
    parts += [_rule(0, FLOOR, WIDE), _text(WIDE / 2, HIGH - 6, axis, "axis")]
    return _figure(title, HIGH, parts, rows)


def bars(title: str, rows: Rows, unit: str = "") -> Safe:
    """One bar for each (label, amount), one below the other; labels may be long."""
    most, line = max([n for _, n in rows], default=0) or 1, 34
    parts = []
    for i, (label, n) in enumerate(rows):
        shown = printable(label)
        parts += [
            _text(0, i * line + 13, shown if len(shown) <= 46 else f"{shown[:45]}…", "name"),
            _text(WIDE, i * line + 13, f"{short(n)}{unit}", "amount"),
            _box(0, i * line + 18, WIDE, 9, "track"),
            _box(0, i * line + 18, max(WIDE * n / most, 1 if n else 0), 9),
        ]
    return _figure(title, max(line * len(rows), line), parts, rows, unit)


def line(title: str, values: Sequence[float], ends: tuple[str, str], axis: str) -> Safe:
    """A filled line over time; the grid is labelled at the top and half way."""
    most = max(values, default=0) or 1
    step = (WIDE - LEFT) / max(len(values) - 1, 1)
    points = [(round(LEFT + i * step, 1), round(FLOOR - (FLOOR - TOP) * n / most, 1)) for i, n in enumerate(values)]
    way = " ".join(f"L{x} {y}" for x, y in points)
    parts = [_rule(LEFT, y, WIDE) for y in (TOP, (TOP + FLOOR) / 2, FLOOR)]
    parts += [_text(LEFT - 6, y + 4, short(n), "amount") for y, n in ((TOP, most), ((TOP + FLOOR) / 2, most / 2), (FLOOR, 0))]
    if points:
        parts += [
            tag("path", d=f"M{LEFT} {FLOOR} {way} L{points[-1][0]} {FLOOR} Z", class_="fill"),
            tag("path", d=f"M{way[1:]}", class_="line"),
        ]
    parts += [
        _text(LEFT, FLOOR + 15, ends[0], "name"),
        _text(WIDE, FLOOR + 15, ends[1], "amount"),
        _text((WIDE + LEFT) / 2, HIGH - 6, axis, "axis"),
    ]
    return _figure(title, HIGH, parts, [("at most", most)] if points else [])


def short(n: float) -> str:
    """``7``, ``0.4``, ``1,234``, ``56k``, ``7.8M``."""
    if n < 10 and n != int(n):
        return f"{n:.1f}"
    if n < 10_000:
        return f"{n:,.0f}"
    return f"{n / 1e3:.0f}k" if n < 999_500 else f"{n / 1e6:.1f}M"


def _figure(title: str, high: float, parts: list[Safe], rows: Rows, unit: str = "") -> Safe:
    told = ", ".join(f"{printable(label)}: {short(n)}{unit}" for label, n in rows)
    drawing = tag("svg", *parts, viewBox=f"0 0 {WIDE} {high:g}", role="img", aria_label=f"{title}: {told or 'nothing yet'}")
    return tag("figure", tag("figcaption", title), drawing if rows else tag("p", "Nothing to show.", class_="none"))


def _box(x: float, y: float, wide: float, high: float, kind: str = "bar") -> Safe:
    return tag("rect", x=round(x, 1), y=round(y, 1), width=round(wide, 1), height=round(high, 1), rx=2, class_=kind)


def _rule(x: float, y: float, to: float) -> Safe:
    return tag("line", x1=x, y1=y, x2=to, y2=y, class_="rule")


def _text(x: float, y: float, words: str, kind: str) -> Safe:
    return tag("text", words, x=round(x, 1), y=round(y, 1), class_=kind)

"""What the demo's web holds: a table made by a pure function, so that the crawl can be compared with the truth.

A library, a bookshop and a reading room, each on a host of its own where the machine has three loopback addresses. Two
links are broken, one address has moved, robots.txt closes /private/ and the guestbook asks not to be followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HOUSES = {
    "library": ("The library", ("mosses", "lichens", "ferns", "orchards", "hedges")),
    "bookshop": ("The bookshop", ("bridges", "canals", "lighthouses", "windmills", "clocks")),
    "reading-room": ("The reading room", ("comets", "tides", "clouds", "maps", "glaciers")),
}
SHELVES = {"field-guides": "A field guide to", "histories": "A short history of", "drawings": "Drawings of"}
ROBOTS = "# The demo's web\nUser-agent: *\nDisallow: /private/\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the demo's web."""

    status: int
    body: str = ""
    mime: str = "text/html; charset=utf-8"
    location: str | None = None


Table = Mapping[tuple[str, str], Answer]


def web(hosts: Sequence[str], port: int) -> Table:
    """The whole web as (host, path) → answer, spread over the hosts there are; what is not in it is a 404."""
    homes = {house: f"http://{hosts[n % len(hosts)]}:{port}" for n, house in enumerate(HOUSES)}
    found = {(host, "/robots.txt"): Answer(200, ROBOTS, "text/plain") for host in hosts}
    for host in hosts:
        doors = [(f"/{house}/", HOUSES[house][0]) for house, home in homes.items() if home == f"http://{host}:{port}"]
        found[host, "/"] = _page("Come in", doors)
    for n, house in enumerate(HOUSES):
        following = list(HOUSES)[(n + 1) % len(HOUSES)]
        for path, answer in _house(house, f"{homes[following]}/{following}"):
            found[hosts[n % len(hosts)], path] = answer
    return found


def pages(table: Table) -> int:
    """How many pages a crawl of it must find: all 200s, but robots.txt, what is closed and what nothing may follow."""
    return sum(
        a.status == 200 and path != "/robots.txt" and not path.startswith(("/private/", "/bookshop/guestbook/"))
        for (_, path), a in table.items()
    )


def _house(house: str, neighbour: str) -> list[tuple[str, Answer]]:
    """A house's front, its shelves and their books; ``neighbour``: the URL of the next house."""
    name, topics = HOUSES[house]
    front = [(f"/{house}/{shelf}/", f"{words} …") for shelf, words in SHELVES.items()]
    found = [(f"/{house}/", _page(name, [*front, (f"{neighbour}/", "next door"), *_oddities(house)]))]
    for shelf, words in SHELVES.items():
        books = [(f"/{house}/{shelf}/{topic}", f"{words} {topic}") for topic in topics]
        found.append((f"/{house}/{shelf}/", _page(f"{name}: {words} …", [*books, (f"/{house}/", name)])))
        around = [(f"/{house}/{shelf}/", "its shelf"), (f"{neighbour}/{shelf}/", "next door's shelf")]
        found += [(path, _book(title, n, around + _mistakes(path))) for n, (path, title) in enumerate(books)]
    return found + _rooms(house)


def _oddities(house: str) -> list[tuple[str, str]]:
    """What a front page links to beside its shelves."""
    return {
        "library": [
            ("/library/card-index", "the card index"),
            ("/private/loans", "loans (staff only)"),
            ("https://example.org/", "another library"),
        ],
        "bookshop": [("/bookshop/guestbook", "the guestbook"), ("/bookshop/sale", "our summer sale")],
        "reading-room": [("/private/lockers", "lockers (staff only)")],
    }[house]


def _mistakes(path: str) -> list[tuple[str, str]]:
    """The links that lead nowhere: an errata sheet that never was, and a sale that is over."""
    if path.startswith("/reading-room/") and path.endswith("/comets"):
        return [("/reading-room/errata", "errata")]
    return [("/bookshop/sale", "reduced")] if path == "/bookshop/histories/clocks" else []


def _rooms(house: str) -> list[tuple[str, Answer]]:
    """What is neither front, shelf nor book."""
    if house == "library":
        return [
            ("/library/card-index", Answer(301, location="/library/catalogue")),
            ("/library/catalogue", _page("The catalogue", [("/library/", "The library")])),
            ("/private/loans", _page("Loans", [])),
        ]
    if house == "bookshop":
        entries = [(f"/bookshop/guestbook/{n}", f"entry {n}") for n in (1, 2)]
        return [
            ("/bookshop/guestbook", _page("The guestbook", entries, '<meta name="robots" content="nofollow">')),
            *((path, _page(text, [])) for path, text in entries),
            ("/bookshop/sale", Answer(410, "The sale is over.")),
        ]
    return [("/private/lockers", _page("Lockers", []))]


def _book(title: str, n: int, links: Sequence[tuple[str, str]]) -> Answer:
    subject = title.rpartition(" ")[2]
    text = "".join(f"<p>Chapter {k}: what to look for in {subject}.</p>" for k in range(1, 6 + 9 * n))
    return _page(title, links, text=text)


def _page(title: str, links: Sequence[tuple[str, str]], head: str = "", text: str = "") -> Answer:
    items = "".join(f'<li><a href="{href}">{name}</a></li>' for href, name in links)
    top = f'<!DOCTYPE html><html lang="en"><title>{title}</title>{head}<h1>{title}</h1>'
    return Answer(200, f"{top}{text}<ul>{items}</ul></html>")

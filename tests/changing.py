"""A web that changes when it is told to, and answers conditional requests (RFC 9110 §13): for crawls that are repeated."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate

from tests.web import HTML, Answer, Request

LINK, LONGEST = '<p><a href="{}">{}</a>', 3
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dogs", "while", "pages", "grow"]


@dataclass
class Changing:
    """``pages`` pages of about ``size`` bytes in a tree below /0. An even one has an ETag, an odd one a Last-Modified, each
    ``mute``-th (0: none) neither. ``sent`` counts the bytes of all answers, ``statuses`` the answers by status."""

    pages: int
    size: int = 500
    mute: int = 0
    versions: Counter[int] = field(default_factory=Counter)
    gone: set[int] = field(default_factory=set)
    new: dict[int, int] = field(default_factory=dict)  # by the page that links to it
    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)

    def __call__(self, request: Request) -> Answer:
        answer = self._answer(request)
        self.sent += len(answer.encode(bodyless=answer.status == 304))
        self.statuses[answer.status] += 1
        return answer

    def _answer(self, request: Request) -> Answer:
        text = request.path[1:]
        if not text.isdigit() or int(text) in self.gone or int(text) >= self.pages + len(self.new):
            return Answer(404)
        number = int(text)
        tag, date = f'"{number}-{self.versions[number]}"', formatdate(1_700_000_000 + self.versions[number], usegmt=True)
        header = ("ETag", tag) if number % 2 == 0 else ("Last-Modified", date)
        if self.mute and number % self.mute == self.mute - 1:
            return Answer(body=self.body(number))
        if request.headers.get("if-none-match") == tag or request.headers.get("if-modified-since") == date:
            return Answer(304, headers=(header,))
        return Answer(body=self.body(number), headers=(*HTML, header))

    def body(self, number: int) -> bytes:
        links = [n for n in range(LONGEST * number + 1, LONGEST * number + LONGEST + 1) if n < self.pages]
        links += [self.new[number]] if number in self.new else []
        noise = random.Random(f"{number} {self.versions[number]}")
        text = " ".join(noise.choices(WORDS, k=self.size // 5))
        head = f"<!DOCTYPE html><title>Page {number}, version {self.versions[number]}</title>"
        return (head + "".join(LINK.format(f"/{n}", n) for n in links) + text).encode()

    def move(self, changed: int, gone: int, new: int, seed: int = 1) -> tuple[set[int], set[int], set[int]]:
        """Change, take away and add so many pages; which. Each new one is linked from one that has changed."""
        chosen = random.Random(seed).sample(range(1, self.pages), changed + gone)
        moved, lost = chosen[:changed], set(chosen[changed:])
        self.versions.update(moved)
        self.gone |= lost
        first = self.pages + len(self.new)
        fresh = range(first, first + new)
        self.new |= dict(zip(moved, fresh, strict=False))
        return set(moved), lost, set(fresh)

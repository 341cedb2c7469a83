"""Headless Chromium, driven over its DevTools protocol: what a test does with a page, and what the page complained of.

    with chromium(tmp_path) as port:
        async with opened(port) as tab:
            await tab.open(url)
            assert await tab.js("document.title") == "..."
            assert tab.complaints == []
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.killing import environment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0")
KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, "/": 191}


class Tab:
    """A page. ``complaints``: errors of scripts, what the console was told, what the policy refused."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._number = socket, 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self.complaints: list[str] = []
        self.requests: list[str] = []

    async def listen(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            else:
                self._heard(told["method"], told["params"])

    def _heard(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Page.javascriptDialogOpening"):
            self.complaints.append(f"{method}: {json.dumps(params)[:500]}")

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        told = await asyncio.wait_for(answer, 20)
        assert "error" not in told, (method, told)
        return told["result"]

    async def open(self, url: str) -> None:
        """Go there, until all of it is loaded."""
        self._loaded.clear()
        await self.send("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), 20)

    async def js(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        told = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, (expression[:200], told)
        return told["result"].get("value")

    async def until(self, expression: str) -> Any:
        """The value of the expression as soon as it is true; 10 s at most, also over pages."""
        async with asyncio.timeout(10):
            while True:
                try:
                    if value := await self.js(expression):
                        return value
                except AssertionError:
                    pass  # between two pages
                await asyncio.sleep(0.02)

    async def does(self, expression: str) -> None:
        """Run what leads to another page, and wait until it is loaded."""
        self._loaded.clear()
        await self.js(f"void ({expression})")
        await asyncio.wait_for(self._loaded.wait(), 20)

    async def does_key(self, key: str, modifiers: int = 0) -> None:
        """Press what leads to another page, and wait until it is loaded."""
        self._loaded.clear()
        await self.press(key, modifiers)
        await asyncio.wait_for(self._loaded.wait(), 20)

    async def press(self, key: str, modifiers: int = 0) -> None:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=KEYS[key], modifiers=modifiers,
                            **({"text": text} if text and kind == "keyDown" else {}))

    async def type(self, text: str) -> None:
        await self.send("Input.insertText", text=text)

    async def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """As a screen of that width shows it."""
        await self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, file: Path) -> None:
        told = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(b64decode(told["data"]))


@asynccontextmanager
async def opened(port: str) -> AsyncIterator[Tab]:
    """A new tab in the browser that listens there."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.put("/json/new?about:blank") as answer:
            told = await answer.json()
        async with session.ws_connect(told["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = Tab(socket)
            listening = asyncio.create_task(tab.listen())
            try:
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await tab.send(f"{domain}.enable")
                yield tab
            finally:
                listening.cancel()


@contextmanager
def chromium(folder: Path) -> Iterator[str]:
    """A browser with a profile of its own in the folder, until the end of the block; where it listens."""
    profile = folder / "profile"
    process = subprocess.Popen([str(CHROMIUM), *QUIET, f"--user-data-dir={profile}", "about:blank"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=environment() | {"HOME": str(folder)}, start_new_session=True)
    try:
        until = time.monotonic() + 30
        while not (port := _port(profile)):
            assert time.monotonic() < until, "chromium does not start"
            time.sleep(0.02)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _port(profile: Path) -> str:
    """Where it listens, as soon as it has written that down."""
    try:
        lines = (profile / "DevToolsActivePort").read_text().split("\n")
    except OSError:
        return ""
    return lines[0] if len(lines) > 1 else ""

"""aiohttp's end of a connection, with what it forgets to say."""

from __future__ import annotations

from typing import Any

from aiohttp.client_proto import ResponseHandler


class Handler(ResponseHandler):
    """Tells who reads a body that there will be no more of it.

    Where the C parser stumbles inside of a body, aiohttp 3.14 tells the connection only. The reader would wait for its
    deadline; or, coming later, meet a RuntimeError, which is the sign of a bug of ours and ends the run.
    """

    def set_exception(self, exc: BaseException, *cause: Any, **named: Any) -> None:
        super().set_exception(exc, *cause, **named)
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(exc)

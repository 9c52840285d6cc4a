"""The server of ``dotcom demo``: how many connections it takes, and for how long it waits for them."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dotcom.demo import server


class ImpatientProtocol(H11Protocol):
    """Hangs up on who connects and does not say within ``PATIENCE`` what is wanted.

    A connection serves one request. Without an end, a few connections that never finish their first line would keep
    all others out.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.deadline = self.loop.call_later(server.PATIENCE, self._hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline.cancel()
        super().connection_lost(exc)

    def _hang_up(self) -> None:
        if self.cycle is None:  # no request has begun
            self.transport.close()


def server_of(app: Any) -> uvicorn.Server:
    """A server for the application, which says nothing as long as all is well."""
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        log_level="warning",
        limit_concurrency=server.MAX_CONNECTIONS,
        headers=[("connection", "close")],
    )
    return uvicorn.Server(config)

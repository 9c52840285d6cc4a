"""The server of ``dotcom demo``: how many connections it takes, and for how long it waits for them."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dotcom.demo import server
from dotcom.demo.server import MAX_CONNECTIONS, refused

BUSY = refused(f"{MAX_CONNECTIONS} connections are open already; close other pages and try again", 503)


class ImpatientProtocol(H11Protocol):
    """Refuses one connection too many in one line, and ends connections on which the other side does nothing.

    A connection above ``MAX_CONNECTIONS`` is answered with 503, and one above twice as many is closed at once.

    The other side has ``PATIENCE`` seconds to send a request after it has connected, and as long again after each
    answer: to read it, to finish a body that was refused, and to send the next request. A refused body is read to
    its end and thrown away, because a browser does not show the answer of a server that hangs up while it sends.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.deadline = self.loop.call_later(server.PATIENCE, self._hang_up)
        self.too_many = len(self.connections) > MAX_CONNECTIONS
        if len(self.connections) > 2 * MAX_CONNECTIONS:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self.too_many = self.too_many and len(self.connections) > MAX_CONNECTIONS  # others may have left since
        self.app = BUSY if self.too_many else self.config.loaded_app
        super().data_received(data)

    def on_response_complete(self) -> None:
        self.deadline.cancel()
        self.deadline = self.loop.call_later(server.PATIENCE, self._hang_up)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None and self.cycle.response_started:  # what is malformed follows a body that was refused
            self.transport.close()
        else:
            super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline.cancel()
        super().connection_lost(exc)

    def _hang_up(self) -> None:
        """End the connection, unless a request is being answered: an upload has a time limit of its own."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if not answering or self.flow.write_paused:  # paused: the answer before is not being read
            self.transport.abort()


def server_of(app: Any) -> uvicorn.Server:
    """A server for the application, which says nothing in the terminal except the traceback of a bug."""
    return uvicorn.Server(uvicorn.Config(app, http=ImpatientProtocol, ws="none", log_level="error"))

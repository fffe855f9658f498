"""Connections that must send the header of a request, and take the answer, in time."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedProtocol(H11Protocol):
    """Closes a connection whose client is too slow.

    uvicorn waits without end for the first request, for the rest of a header, and for a client that
    does not read its answer.
    """

    header_seconds = 10.0
    request_seconds = 90.0
    _header: asyncio.TimerHandle | None = None
    _request: asyncio.TimerHandle | None = None

    @classmethod
    def within(cls, header_seconds: float, request_seconds: float) -> type["TimedProtocol"]:
        """Return the protocol with other times."""
        times = {"header_seconds": header_seconds, "request_seconds": request_seconds}
        return type("TimedProtocol", (cls,), times)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to count."""
        super().connection_made(transport)
        self._header = self.loop.call_later(self.header_seconds, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to count."""
        self._stop_header()
        self._stop_request()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stop to count once a header is complete, and start with the next one."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            if self._header is None:
                self._header = self.loop.call_later(self.header_seconds, self._give_up)
            return
        self._stop_header()
        self._time_request()

    def _time_request(self) -> None:
        if self._request is None and self.cycle is not None and not self.cycle.response_complete:
            self._request = self.loop.call_later(self.request_seconds, self._give_up)

    def on_response_complete(self) -> None:
        """Stop to count for this request, and start for one that came with it."""
        self._stop_request()
        super().on_response_complete()  # which takes up the next request of a pipeline
        self._time_request()

    def _stop_header(self) -> None:
        if self._header is not None:
            self._header.cancel()
            self._header = None

    def _stop_request(self) -> None:
        if self._request is not None:
            self._request.cancel()
            self._request = None

    def _give_up(self) -> None:
        self.transport.abort()  # not close, which waits for what the client does not read

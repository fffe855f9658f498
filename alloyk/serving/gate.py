"""Which requests reach the application: those by its name, and not too many at one time."""

import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# A name, or an address of IPv6 in brackets, and a port.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:@/\[\]]+))(?::\d*)?")


class Gate:
    """Refuses a request with another `Host` or one too many, in JSON like every other error.

    A connection that waits for its next request does not count: browsers keep several of them.

    Args:
        app: The application.
        hosts: Names of the server in requests; others are refused, so that no page of another
            site can read answers by a name that it lets point here. `*` is any name.
        at_once: Requests that are answered at one time.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], at_once: int) -> None:
        self._app, self._hosts, self._at_once = app, hosts, at_once
        self._answering = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        self._answering += 1
        try:
            await (refusal or self._app)(scope, receive, send)
        finally:
            self._answering -= 1

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        if self._answering >= self._at_once:
            text = "too many requests are waiting; try again in a second"
            return JSONResponse({"error": text}, 503, headers={"Retry-After": "1"})
        if "*" not in self._hosts and host_name(Headers(scope=scope)) not in self._hosts:
            text = "the header Host must name this computer, such as localhost"
            return JSONResponse({"error": text}, 400)
        return None


def host_name(headers: Headers) -> str | None:
    """Return the name in the header `Host`, without a port; None if there is none.

    >>> host_name(Headers({"host": "LocalHost:8000"})), host_name(Headers({"host": "[::1]:80"}))
    ('localhost', '::1')
    """
    found = _HOST.fullmatch(headers.get("host", "").lower())
    return found and (found[1] or found[2])

"""Time limits of connections."""

import asyncio
from unittest.mock import Mock

import uvicorn
from uvicorn.server import ServerState

from alloyk.serving.connections import TimedProtocol


async def app(scope, receive, send):
    """Answers every request but `/never`."""
    if scope["path"] == "/never":
        await asyncio.Event().wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def was_closed(*paths):
    """Send requests together; return whether the connection was closed after 0.05 s each."""

    async def exchange():
        config = uvicorn.Config(app, log_config=None)
        config.load()
        protocol = TimedProtocol.within(5, 0.05)(config, ServerState(), {})
        transport = Mock(is_closing=Mock(return_value=False))
        transport.get_extra_info.return_value = None
        protocol.connection_made(transport)
        requests = [f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths]
        protocol.data_received("".join(requests).encode())
        await asyncio.sleep(0.3)
        protocol.connection_lost(None)
        for task in protocol.tasks:
            task.cancel()
        return transport.abort.called

    return asyncio.run(exchange())


def test_each_request_of_a_pipeline_has_its_time():
    assert not was_closed("/", "/")
    assert was_closed("/never")
    assert was_closed("/", "/never")

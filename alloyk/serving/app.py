"""The HTTP interface: `POST /predict`, the page, and what the page asks for.

An image is the body of a request. A form (`multipart/form-data`) is refused: its parser writes
large files to the disk.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alloyk import __version__
from alloyk.errors import AlloykError, DataError
from alloyk.serving.gate import Gate
from alloyk.serving.limits import (
    BodyTooLargeError,
    BodyTooSlowError,
    BusyError,
    Limits,
    WrongBodyError,
    status_of,
)
from alloyk.serving.service import Service
from alloyk.serving.uploads import FORMATS, safe_name

logger = logging.getLogger(__name__)

_PAGE_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "description": "The bytes of one image file: PNG, JPEG, BMP, TIFF, DICOM or .npy.",
    "content": {"application/octet-stream": _BINARY, "image/*": _BINARY},
}


class Prediction(BaseModel):
    """The answer for one image."""

    path: str = Field(description="The name in the request.")
    predicted: str | None = Field(description="The class; null where the model abstains.")
    probabilities: dict[str, float] = Field(description="The probability of each class.")
    estimates: dict[str, float] | None = Field(
        None, description="Numbers that the model estimates beside the class."
    )
    unlike: float | None = Field(
        None, description="Distance from the training images; 1 or more is unlike them."
    )
    abstained: str | None = Field(
        None, description="Why there is no class: `uncertain` or `unlike`."
    )
    notes: list[str] = Field(description="What may make the prediction wrong.")
    pictures: dict[str, Any] | None = Field(
        None, description="`raw`, `equalised` and, for Keras models, `gradcam` as data URLs."
    )


class Problem(BaseModel):
    """An error response."""

    error: str


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem} for status in statuses}


def make_app(service: Service, hosts: tuple[str, ...] = ("*",)) -> ASGIApp:
    """Return the application, every answer of which has the headers for browsers.

    Args:
        service: Answers for images.
        hosts: Names of the server in requests, see `Gate`.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="alloyk", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        summary="Tell metals apart in X-ray transmission images.",
    )  # fmt: skip
    _add_errors(app)
    bodies = _Bodies(service.limits)
    _add_predict(app, service, bodies)
    _add_page(app, service, bodies)
    # Both outside of what answers unknown faults.
    return _WithHeaders(Gate(app, hosts, service.limits.at_once))


def _add_errors(app: FastAPI) -> None:
    """Answer errors in JSON."""

    @app.exception_handler(AlloykError)
    async def alloyk_error(_: Request, error: AlloykError) -> JSONResponse:
        status = status_of(error)
        if status == 500:
            logger.error("%s", error)
        text = " ".join(str(error).split())
        return JSONResponse(
            {"error": text}, status, headers={"Retry-After": "1"} if status == 503 else None
        )

    @app.exception_handler(Exception)
    async def unexpected_error(_: Request, error: Exception) -> JSONResponse:
        text = "internal error; see the server's log"
        return JSONResponse({"error": text}, 500)

    @app.exception_handler(RequestValidationError)
    async def invalid_parameter(_: Request, error: RequestValidationError) -> JSONResponse:
        (first, *_rest) = error.errors()
        text = f"{first['loc'][-1]}: {first['msg'][:1].lower()}{first['msg'][1:]}"
        return JSONResponse({"error": text}, 422)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)


class _WithHeaders:
    """Adds the headers for browsers to every answer, and ends the connection after an error.

    The body of a refused request may still be on its way; uvicorn would wait for it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # The page recognises by it that the server was restarted.
        headers = {**_HEADERS, "Alloyk-Server": secrets.token_hex(8)}
        self._headers = [(name.lower().encode(), text.encode()) for name, text in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with(message: Message) -> None:
            if message["type"] == "http.response.start":
                closing = [(b"connection", b"close")] if message["status"] >= 400 else []
                message["headers"] = [*message.get("headers", ()), *self._headers, *closing]
            await send(message)

        await self._app(scope, receive, send_with)


def _add_predict(app: FastAPI, service: Service, bodies: "_Bodies") -> None:
    @app.post(
        "/predict", openapi_extra={"requestBody": _BODY}, response_model_exclude_none=False,
        responses=_problems(400, 408, 413, 415, 422, 500, 503),
    )  # fmt: skip
    async def predict(
        request: Request,
        name: Annotated[str | None, Query(description="What to call the image.")] = None,
        page: Annotated[int | None, Query(ge=0, description="Page of a stack, from 0.")] = None,
        abstain: Annotated[
            float | None,
            Query(gt=0, lt=1, description="Error rate for which uncertain classes are left out."),
        ] = None,
        pictures: Annotated[bool, Query(description="Return pictures too.")] = False,
    ) -> Prediction:
        """Classify one image, which is the body of the request."""
        with bodies.place() as place:
            data = await bodies.read(request, place)
            answer = await service.answer(
                data, safe_name(name), page=page, abstain=abstain, pictures=pictures
            )
        return Prediction(**answer)


class _Place:
    """What one request holds of the server's memory."""

    held = 0


class _Bodies:
    """Reads bodies into memory, as many and as large as the limits allow."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests = self._bytes = 0

    @contextmanager
    def place(self) -> Iterator[_Place]:
        """Hold a place for a request."""
        if self._requests >= self._limits.requests:
            raise BusyError("too many requests are waiting; try again in a second")
        place = _Place()
        self._requests += 1
        try:
            yield place
        finally:
            self._requests -= 1
            self._bytes -= place.held

    async def read(self, request: Request, place: _Place) -> bytes:
        """Return the body, or raise by which limit it is refused."""
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind.startswith("multipart/") or kind == "application/x-www-form-urlencoded":
            raise WrongBodyError(
                f"the body must be the bytes of one image file, got {kind}; with curl, use "
                "--data-binary @FILE -H 'Content-Type: application/octet-stream'"
            )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._limits.body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._collect(request, place)
        except TimeoutError:
            raise BodyTooSlowError(
                f"the body must arrive within {self._limits.seconds:g} s; send it again"
            ) from None
        except ClientDisconnect:
            raise DataError("the client disconnected before the body was complete") from None

    async def _collect(self, request: Request, place: _Place) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            if len(body) + len(chunk) > self._limits.body_bytes:
                raise self._too_large()
            if self._bytes + len(chunk) > self._limits.total_body_bytes:
                raise BusyError("too many bytes are waiting; try again in a second")
            self._bytes += len(chunk)
            place.held += len(chunk)
            body += chunk
        if not body:
            raise DataError("the body must be the bytes of one image file, got none")
        return bytes(body)

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"the body must have at most {self._limits.body_bytes} bytes")


def _file_response(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def respond() -> Response:
        return Response(content, media_type=kind)

    return respond


def _add_page(app: FastAPI, service: Service, bodies: _Bodies) -> None:
    """Add the page, and what only the page asks for."""
    folder = files("alloyk") / "serving" / "page"
    for path, (name, kind) in _PAGE_FILES.items():
        response = _file_response((folder / name).read_bytes(), kind)
        app.get(path, include_in_schema=False)(response)

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """Describe the model and the limits."""
        return {**service.description, "formats": sorted(FORMATS), "alloyk": __version__}

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the server is there."""
        return {"status": "ok"}

    if service.live is None:
        return
    live = service.live

    @app.get("/watched", include_in_schema=False)
    async def watched(after: Annotated[int, Query(ge=0)] = 0) -> list[dict[str, Any]]:
        return [{"number": seen.number, **seen.answer} for seen in live.after(after)]

    @app.get("/watched/{number}", include_in_schema=False)
    async def watched_one(number: int) -> dict[str, Any]:
        seen = live.numbered(number)
        if seen is None:
            raise DataError(f"image {number} of the watched folder is no longer kept")
        with bodies.place():
            return await service.pictures_of(seen)

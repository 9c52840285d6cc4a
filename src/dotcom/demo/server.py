"""The web application behind ``dotcom demo``: one page, and one address that takes a picture."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dotcom.errors import UsageError

MAX_BYTES = 30 * 2**20  # of an upload; pictures above the pixel limit of ``read_picture`` are refused as well
POLICY = "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'self'"
PAGES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
HOSTS = ["127.0.0.1", "localhost"]

Answer = Callable[[bytes, float], dict[str, Any]]


def application(answer: Answer, about: dict[str, Any]) -> Starlette:
    """Serves the page, what the checkpoint is (GET /about), and answers to pictures (POST /predict).

    Requests that name another host are refused, and so are uploads from other sites' pages.

    Args:
        answer: From the content of a file and a threshold to what JSON says of it; called by one thread at a time.
        about: Shown on the page.
    """
    one_at_a_time = CapacityLimiter(1)

    async def predict(request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return refused("uploads from other pages are refused", 403)
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > MAX_BYTES:
                return refused(f"the file is too large; expected at most {MAX_BYTES // 2**20} MB", 413)
        try:
            threshold = min(1.0, max(0.0, float(request.query_params.get("threshold", "0.3"))))
            return JSONResponse(await run_sync(answer, bytes(content), threshold, limiter=one_at_a_time))
        except ValueError as error:  # UsageError is one
            return refused(str(error) if isinstance(error, UsageError) else "the picture could not be used", 400)

    async def tell(request: Request) -> Response:
        return JSONResponse(about)

    return Starlette(
        routes=[
            *(Route(path, page(*file)) for path, file in PAGES.items()),
            Route("/about", tell),
            Route("/predict", predict, methods=["POST"]),
        ],
        exception_handlers={Exception: failed},
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
    )


def page(name: str, kind: str) -> Callable[[Request], Response]:
    """One of the files beside this module."""
    content = files(__package__).joinpath(name).read_bytes()

    def send(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"Content-Security-Policy": POLICY})

    return send


def failed(request: Request, error: Exception) -> Response:
    """A bug; its traceback is in the terminal, and the server goes on."""
    return refused("something went wrong; the terminal says what", 500)


def refused(reason: str, status: int) -> JSONResponse:
    """A mistake, in one line that the page shows."""
    return JSONResponse({"error": reason}, status_code=status)

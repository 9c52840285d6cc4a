"""The web application behind ``dotcom demo``: one page, and one address that takes a picture."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from anyio import CapacityLimiter, fail_after
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dotcom.errors import UsageError

MAX_BYTES = 30 * 2**20  # of an upload; pictures above the pixel limit of ``read_picture`` are refused as well
MAX_UPLOADS = 4  # at the same time, being sent or waiting for their answer: 120 MB in all
MAX_CONNECTIONS = 32  # at the same time
PATIENCE = 30.0  # seconds for an upload to arrive, and for a connection to say what it wants
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

    Requests that name another host are refused, and so are uploads from other sites' pages, and more of them at the
    same time than one person needs.

    Args:
        answer: From the content of a file and a threshold to what JSON says of it; called by one thread at a time.
        about: Shown on the page.
    """
    one_at_a_time = CapacityLimiter(1)
    uploads = 0

    async def predict(request: Request) -> Response:
        nonlocal uploads
        if is_foreign(request):
            return refused("uploads from other pages are refused", 403)
        if uploads >= MAX_UPLOADS:
            return refused(f"{MAX_UPLOADS} pictures are being looked at already; try again", 503)
        uploads += 1
        try:
            return await answered(request)
        except ClientDisconnect:  # the page gives up a picture as soon as there is another one
            return Response()
        except TimeoutError:
            return refused(f"the picture did not arrive within {PATIENCE:g} s", 408)
        finally:
            uploads -= 1

    async def answered(request: Request) -> Response:
        content = bytearray()
        with fail_after(PATIENCE):
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


def is_foreign(request: Request) -> bool:
    """Whether a page of another site sends the request; programs that are no browsers say nothing of a page."""
    origin = request.headers.get("origin")
    other = origin is not None and origin != f"http://{request.headers.get('host')}"
    return other or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


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

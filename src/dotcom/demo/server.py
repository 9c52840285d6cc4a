"""The web application behind ``dotcom demo``: one page, and one address that takes a picture."""

import math
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from anyio import Lock, create_task_group, fail_after
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dotcom.errors import UsageError
from dotcom.text import visible

MAX_BYTES = 30 * 2**20  # of an upload; the limit of its pixels is ``dotcom.demo.answers.MAX_PIXELS``
MAX_UPLOADS = 4  # at the same time, being sent or waiting for their answer
MAX_HELD = MAX_UPLOADS * MAX_BYTES  # bytes of all uploads at the same time
MAX_CONNECTIONS = 32  # at the same time
PATIENCE = 30.0  # seconds for an upload to arrive, for a request to begin, and for an answer to be read
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
    turn = Lock()  # held by the upload that is being looked at
    uploads = 0

    async def predict(request: Request) -> Response:
        nonlocal uploads
        if is_foreign(request):
            return refused("uploads from other pages are refused", 403)
        threshold = threshold_of(request)
        if uploads >= MAX_UPLOADS:
            return refused(f"{MAX_UPLOADS} pictures are being looked at already; try again", 503)
        uploads += 1
        try:
            content = await received(request)
            await wait_for(turn, request)
            try:
                return JSONResponse(await run_sync(answer, content, threshold))
            finally:
                turn.release()
        except ClientDisconnect:  # the page gives up a picture as soon as there is another one
            return Response()
        except ValueError as error:  # UsageError is one
            return refused(str(error) if isinstance(error, UsageError) else "the picture could not be used", 400)
        finally:
            uploads -= 1

    async def tell(request: Request) -> Response:
        return JSONResponse(about)

    return Starlette(
        routes=[
            *(Route(path, page(*file)) for path, file in PAGES.items()),
            Route("/about", tell),
            Route("/predict", predict, methods=["POST"]),
        ],
        exception_handlers={HTTPException: refusal, Exception: failed},
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
    )


def is_foreign(request: Request) -> bool:
    """Whether a page of another site sends the request; programs that are no browsers say nothing of a page."""
    own = f"http://{request.headers.get('host')}"
    if any(origin != own for origin in request.headers.getlist("origin")):
        return True
    return request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


def threshold_of(request: Request) -> float:
    """The least score of a box that is shown, from 0 to 1.

    Raises:
        HTTPException: 400, if the address names one that is no number.
    """
    given = request.query_params.get("threshold", "0.3")
    try:
        threshold = float(given)
    except ValueError:
        threshold = math.nan
    if math.isnan(threshold):
        raise HTTPException(400, f"threshold={visible(given[:20])}: expected a number from 0 to 1")
    return min(1.0, max(0.0, threshold))


async def received(request: Request) -> bytes:
    """The body of an upload.

    Raises:
        HTTPException: 413 above ``MAX_BYTES``; 408 if it has not arrived after ``PATIENCE`` seconds.
        ClientDisconnect: If the other side is gone before all has arrived.
    """
    content = bytearray()
    try:
        with fail_after(PATIENCE):
            async for chunk in request.stream():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise HTTPException(413, f"the file is too large; expected at most {MAX_BYTES // 2**20} MB")
    except TimeoutError:
        raise HTTPException(408, f"the picture did not arrive within {PATIENCE:g} s") from None
    return bytes(content)


async def wait_for(turn: Lock, request: Request) -> None:
    """Take the lock as soon as it is free, unless the other side is gone before.

    Raises:
        ClientDisconnect: If it is gone; the lock is not taken then.
    """
    taken = False
    async with create_task_group() as group:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        await turn.acquire()
        taken = True
        group.cancel_scope.cancel()
    if not taken:
        raise ClientDisconnect


def page(name: str, kind: str) -> Callable[[Request], Response]:
    """One of the files beside this module."""
    content = files(__package__).joinpath(name).read_bytes()

    def send(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"Content-Security-Policy": POLICY})

    return send


def refusal(request: Request, error: Exception) -> Response:
    """What was wrong with a request, in one line."""
    assert isinstance(error, HTTPException)
    answer = refused(error.detail, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


def failed(request: Request, error: Exception) -> Response:
    """A bug; its traceback is in the terminal, and the server goes on."""
    return refused("something went wrong; the terminal says what", 500)


def refused(reason: str, status: int) -> JSONResponse:
    """A mistake, in one line that the page shows."""
    return JSONResponse({"error": reason}, status_code=status)

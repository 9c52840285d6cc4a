"""``dotcom demo``: the page in a real browser, and the server on its own."""

import base64
import io
import json
import socket
import subprocess
import threading
import time
import tracemalloc
import zlib
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from queue import Queue

import pytest
import torch
from hydra.utils import instantiate
from PIL import Image
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from browser import FLAGS, SECONDS, browser
from dotcom.cli import main
from dotcom.cli.demo import listening
from dotcom.demo import server as demo_server
from dotcom.demo.answers import MAX_PIXELS, MAX_SIDE, Answers, without_co_bias
from dotcom.demo.connections import server_of
from dotcom.demo.server import MAX_BYTES, MAX_CONNECTIONS, MAX_HELD, MAX_UPLOADS, application
from dotcom.inference.predictor import Predictor
from recorded import config_of

DRIVER = """<!DOCTYPE html><meta charset="utf-8"><body><iframe src="/" width="1000" height="900"></iframe><script>
const frame = document.querySelector("iframe");
const until = async (ready) => { while (!ready()) await new Promise((done) => setTimeout(done, 20)); };
frame.onload = async () => {
  const page = frame.contentDocument, view = frame.contentWindow, seen = [];
  for (const [name, content] of FILES) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const carried = new view.DataTransfer();
    carried.items.add(new view.File([bytes], name));
    const before = page.getElementById("message").textContent;
    view.dispatchEvent(new view.DragEvent("drop", { dataTransfer: carried, cancelable: true }));
    await until(() => !page.getElementById("message").textContent.startsWith("looking at"));
    const text = (id) => page.getElementById(id).textContent;
    const hidden = page.getElementById("result").hidden, width = page.getElementById("drawing").naturalWidth;
    seen.push({ message: text("message"), hidden, line: text("line"), width, without: text("change") });
  }
  await fetch("/seen", { method: "POST", body: JSON.stringify(seen) });
};
</script></body>"""


def encoded(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


PHOTO = encoded(Image.radial_gradient("L").resize((90, 60)))
BROKEN = PHOTO[:400]


class Stub:
    """Answers without a network."""

    def __call__(self, content: bytes, threshold: float):
        if content == b"bug":
            raise RuntimeError("a bug")
        return {"threshold": threshold, "bytes": len(content)}


@pytest.fixture
def client():
    return TestClient(application(Stub(), {"name": "n"}), "http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture
def silent(capfd, caplog):
    """Nothing may reach the terminal, neither directly nor from asyncio, whose log pytest catches on its way."""
    yield
    assert capfd.readouterr().err == ""
    logged = caplog.get_records("call")
    assert [record.getMessage() for record in logged if record.levelname in ("WARNING", "ERROR")] == []


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A classifier of the embedded photos as it starts out."""
    config = config_of("data=fashion", "model=dotcom_tiny", "co_bias=true", "hardware=cpu")
    network = instantiate(config["task"]["model"])
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    weights = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"config": config, "state_dict": weights}, path)
    return path


@contextmanager
def served(app):
    with running(server_of(app)) as address:
        yield address


@contextmanager
def running(server):
    place = listening(0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_page__shows_what_the_network_sees_and_survives_broken_pictures(checkpoint, tmp_path):
    predictor = Predictor(checkpoint, "cpu")
    files = [[name, base64.b64encode(content).decode()] for name, content in (("a.png", PHOTO), ("b.png", BROKEN))]
    app = application(Answers(predictor), {"name": "n", "line": "l", "task": "Classification"})
    photo, broken = in_browser(app, DRIVER.replace("FILES", json.dumps(files)), tmp_path)
    (result,) = predictor([Image.open(io.BytesIO(PHOTO)).convert("RGB")])
    assert photo["line"] == result.line()
    assert photo["width"] >= 480
    assert not photo["hidden"]
    assert "points" in photo["without"]
    assert broken["hidden"]
    assert broken["message"].startswith("b.png: the picture: ")


def in_browser(app, driver: str, folder: Path):
    """What the driver, a page beside the one under test, sends to /seen."""
    seen: Queue[bytes] = Queue()

    async def take(request):
        seen.put(await request.body())
        return Response()

    routes = [Route("/driver", lambda request: HTMLResponse(driver)), Route("/seen", take, methods=["POST"])]
    app.router.routes.extend(routes)
    flags = [flag for flag in FLAGS if "virtual-time" not in flag]  # the page waits for the network
    with served(app) as address:
        command = [browser(), *flags, f"--user-data-dir={folder}", f"{address}/driver"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                return json.loads(seen.get(timeout=SECONDS))
            finally:
                process.kill()


def test_without_co_bias__changes_the_answer_and_leaves_the_network(checkpoint):
    predictor = Predictor(checkpoint, "cpu")
    biases = [p for name, p in predictor.network.named_parameters() if "bias_in.bias" in name]
    for bias in biases:
        bias.data.fill_(2.0)
    other = without_co_bias(predictor)
    picture = Image.radial_gradient("L").convert("RGB")
    one, two = (each([picture])[0].top for each in (predictor, other))
    assert all(bool((bias == 2).all()) for bias in biases)
    assert {guess.name: guess.probability for guess in one} != {guess.name: guess.probability for guess in two}
    for bias in biases:
        bias.data.zero_()
    torch.testing.assert_close(
        [guess.probability for guess in predictor([picture])[0].top], [guess.probability for guess in two]
    )


def test_upload__has_a_size_limit(client):
    assert client.post("/predict", content=b"x" * MAX_BYTES).json() == {"threshold": 0.3, "bytes": MAX_BYTES}
    answer = client.post("/predict", content=b"x" * (MAX_BYTES + 1))
    assert answer.status_code == 413
    assert "expected at most 30 MB" in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "example.com"}, 400),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://127.0.0.1"}, 200),
        ({"origin": "https://127.0.0.1"}, 403),
        ({"origin": "http://127.0.0.1:81"}, 403),
        ({"origin": "http://example.com", "sec-fetch-site": "same-origin"}, 403),
        ({"origin": "null", "sec-fetch-site": "none"}, 403),
        ({}, 200),
    ],
)
def test_request__from_elsewhere_is_refused(client, headers, status):
    assert client.post("/predict", content=b"x", headers=headers).status_code == status


HOST = "Host: 127.0.0.1\r\n"
HEAD = f"POST /predict HTTP/1.1\r\n{HOST}Content-Length: {{}}\r\n\r\n"


def connected(address: str, *parts: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=SECONDS)
    for part in parts:
        connection.sendall(part)
    return connection


def upload(address: str, content: bytes) -> socket.socket:
    return connected(address, HEAD.format(len(content)).encode(), content)


def heard(connection: socket.socket) -> tuple[int, str]:
    """Status and body of the one answer that comes."""
    with connection, HTTPResponse(connection) as answer:
        answer.begin()
        return answer.status, answer.read().decode()


def until(ready) -> None:
    deadline = time.monotonic() + SECONDS
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Blocked:
    """Answers once the test lets it, and notes what it was asked."""

    def __init__(self) -> None:
        self.let, self.asked = threading.Event(), []

    def __call__(self, content: bytes, threshold: float):
        self.asked.append(content[:9])
        assert self.let.wait(SECONDS)
        return {}


def test_upload__that_is_aborted_leaves_nothing(silent):
    with served(application(Stub(), {})) as address:
        for _ in range(2 * MAX_UPLOADS):  # each of them gives its place back
            connected(address, HEAD.format(1000).encode(), b"half of it").close()
        until(lambda: heard(upload(address, b"x"))[0] == 200)


def test_pictures__that_the_page_gave_up_are_not_looked_at_and_make_room(silent):
    answer = Blocked()
    with served(application(answer, {})) as address:
        try:
            first = upload(address, b"first")
            until(lambda: answer.asked)
            for _ in range(MAX_UPLOADS):
                upload(address, b"given up").close()

            def taken() -> bool:
                connection = upload(address, b"last")
                connection.settimeout(0.3)
                try:
                    return heard(connection)[0] != 503
                except TimeoutError:  # it waits for its turn, and is given up as well
                    return True

            until(taken)
            last = upload(address, b"last")
        finally:
            answer.let.set()
        assert [heard(first)[0], heard(last)[0]] == [200, 200]
    assert b"given up" not in answer.asked


def test_uploads__are_limited_in_number():
    with served(application(Stub(), {})) as address:
        open_ones = [connected(address, HEAD.format(9).encode(), b"half") for _ in range(MAX_UPLOADS)]
        until(lambda: (answer := heard(upload(address, b"x")))[0] == 503 and "4 pictures are being looked" in answer[1])
        for connection in open_ones:
            connection.sendall(b" more")
            assert heard(connection)[0] == 200


def test_uploads__hold_no_more_memory_together_than_the_limit():
    answer, content = Blocked(), b"x" * MAX_BYTES
    with served(application(answer, {})) as address:
        tracemalloc.start()
        try:
            waiting = [upload(address, content) for _ in range(MAX_UPLOADS)]
            answer.let.set()
            assert [heard(connection)[0] for connection in waiting] == [200] * MAX_UPLOADS
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            answer.let.set()
            tracemalloc.stop()
    assert MAX_HELD / 2 < peak < MAX_HELD + 2 * MAX_BYTES  # one is copied as it is complete; lists grow in steps


def test_upload__that_is_too_large_hears_so_over_a_real_connection():
    with served(application(Stub(), {})) as address:
        status, message = heard(upload(address, b"x" * (MAX_BYTES + 2**23)))
    assert status == 413
    assert json.loads(message)["error"] == "the file is too large; expected at most 30 MB"


def test_connections__are_limited_and_end_if_they_say_nothing(monkeypatch, silent):
    monkeypatch.setattr(demo_server, "PATIENCE", 3.0)
    with served(application(Stub(), {})) as address:
        mute = [connected(address, b"POST /pre") for _ in range(MAX_CONNECTIONS)]
        status, message = heard(upload(address, b"x"))
        assert status == 503
        assert json.loads(message)["error"].startswith(f"{MAX_CONNECTIONS} connections are open already; close other")
        assert [connection.recv(1) for connection in mute] == [b""] * MAX_CONNECTIONS
        assert heard(connected(address, HEAD.format(9).encode(), b"half")) == (
            408,
            '{"error":"the picture did not arrive within 3 s"}',
        )
        assert heard(upload(address, b"x"))[0] == 200


def test_connections__far_above_the_limit_are_closed_at_once():
    server = server_of(application(Stub(), {}))
    with running(server) as address, ExitStack() as stack:
        for _ in range(2 * MAX_CONNECTIONS):
            stack.enter_context(connected(address))
        until(lambda: len(server.server_state.connections) == 2 * MAX_CONNECTIONS)
        with connected(address) as one_more:
            assert one_more.recv(1) == b""


@pytest.mark.parametrize("slow", ["in headers", "in a refused body", "in reading"])
def test_client__that_is_slow_is_hung_up_on(slow, monkeypatch, silent):
    monkeypatch.setattr(demo_server, "PATIENCE", 1.0)
    start = {
        "in headers": f"GET / HTTP/1.1\r\n{HOST}X: ",
        "in a refused body": f"POST /predict HTTP/1.1\r\n{HOST}Origin: null\r\nContent-Length: 99999\r\n\r\n",
        "in reading": HEAD.format(1) + "x",
    }
    server = server_of(application(lambda content, threshold: {"drawing": "x" * 50_000_000}, {}))
    with running(server) as address, connected(address, start[slow].encode()) as connection:
        until(lambda: server.server_state.connections)

        def ended() -> bool:
            if slow != "in reading" and server.server_state.connections:
                with suppress(OSError):  # it is being ended
                    connection.sendall(b"x")
            return not server.server_state.connections

        until(ended)


CHUNKED = f"POST /predict HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([f"{CHUNKED}\r\n3\r\nabc\r\n0\r\n\r\n"], 200),
        ([f"POST /predict HTTP/1.1\r\n{HOST}Content-Type: text/html\r\nContent-Length: 1\r\n\r\nx"], 200),
        ([f"POST /predict HTTP/1.1\r\n{HOST}\r\n"], 200),  # no length: an empty body
        ([f"{CHUNKED}\r\n3\r\nabc\r\n", "zz\r\n"], 400),
        ([f"{CHUNKED}Origin: null\r\n\r\n", "zz\r\n"], 403),
        ([HEAD.format(-3)], 400),
        (["GET / HTTP/1.1\r\n\r\n"], 400),
        ([f"GET / HTTP/1.1\r\n{HOST}Host: example.com\r\n\r\n"], 400),
        ([f"GET / HTTP/1.1\r\n{HOST}X: {'x' * 70_000}"], 400),  # and no end
        (["\x16\x03\x01\x02\r\n\r\n"], 400),
        ([f"GET /predict HTTP/1.1\r\n{HOST}\r\n"], 405),
        ([f"GET /%ff/../etc HTTP/1.1\r\n{HOST}\r\n"], 404),
    ],
)
def test_request__that_is_malformed_is_one_line(parts, status, silent):
    with served(application(Stub(), {})) as address:
        connection = connected(address, parts[0].encode())
        for part in parts[1:]:
            time.sleep(0.1)  # so that it comes by itself
            connection.sendall(part.encode())
        time.sleep(0.1 * (len(parts) - 1))
        heard_status, body = heard(connection)
        assert heard_status == status
        assert len(body.splitlines()) == 1
        assert heard(upload(address, b"x"))[0] == 200


def test_pictures__with_too_many_pixels_are_refused_with_the_real_limit(checkpoint):
    app = application(Answers(Predictor(checkpoint, "cpu")), {})
    client = TestClient(app, "http://127.0.0.1")
    for side in (8_000, 60_000):  # above the page's limit, and above Pillow's own
        header = PHOTO[:16] + side.to_bytes(4, "big") * 2 + PHOTO[24:29]
        claims = header + zlib.crc32(header[12:]).to_bytes(4, "big") + PHOTO[33:]
        answer = client.post("/predict", content=claims)
        assert answer.status_code == 400
        assert f"expected at most {MAX_PIXELS // 10**6} million" in answer.json()["error"]


@pytest.mark.parametrize("content", [b"", b"text", BROKEN, PHOTO[:8], b"GIF89a\xff\xff\xff\xff", b"BM" + b"\0" * 60])
def test_bytes__that_are_no_picture_are_a_message(content, checkpoint, capfd):
    client = TestClient(application(Answers(Predictor(checkpoint, "cpu")), {}), "http://127.0.0.1")
    answer = client.post("/predict", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the picture: ")
    assert "Traceback" not in capfd.readouterr().err


def strip(length: int) -> bytes:
    return encoded(Image.new("1", (length, 1)))


def animation(kind: str) -> bytes:
    content, frames = io.BytesIO(), [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(content, kind, save_all=True, append_images=frames[1:])
    return content.getvalue()


def text_bomb() -> bytes:
    data = b"zTXt" + b"a\0\0" + zlib.compress(b"\0" * 10**8)
    return PHOTO[:33] + (len(data) - 4).to_bytes(4, "big") + data + zlib.crc32(data).to_bytes(4, "big") + PHOTO[33:]


def test_pictures__that_unpack_to_more_than_they_seem(checkpoint, silent, monkeypatch):
    answers = Answers(Predictor(checkpoint, "cpu"))
    client = TestClient(application(answers, {}), "http://127.0.0.1", raise_server_exceptions=False)
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        answer = client.post("/predict", content=animation(kind))
        assert (answer.status_code, answer.json()["size"]) == (200, [40, 30])  # the first frame
    for content, message in (
        (strip(MAX_SIDE + 1), f"it has {MAX_SIDE + 1}x1 pixels; expected at most {MAX_SIDE} a side"),
        (text_bomb(), "Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK"),
    ):
        answer = client.post("/predict", content=content)
        assert (answer.status_code, answer.json()) == (400, {"error": f"the picture: {message}"})

    def exhausted(picture):
        raise MemoryError

    monkeypatch.setattr(answers.predictor, "prepare", exhausted)
    answer = client.post("/predict", content=PHOTO)
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "the picture: this machine has too little memory for it",
    )


def test_bug__is_a_message_and_the_server_goes_on(client):
    assert client.post("/predict", content=b"bug").json() == {"error": "something went wrong; the terminal says what"}
    assert client.post("/predict", content=b"x").status_code == 200


@pytest.mark.parametrize(("given", "used"), [("0.5", 0.5), ("7", 1.0), ("-1", 0.0)])
def test_threshold__is_kept_in_range(client, given, used):
    assert client.post(f"/predict?threshold={given}", content=b"x").json()["threshold"] == used


@pytest.mark.parametrize("given", ["x", "", "nan"])
def test_threshold__that_is_no_number_is_a_message(client, given):
    answer = client.post(f"/predict?threshold={given}", content=b"x")
    assert answer.status_code == 400
    assert answer.json()["error"] == f"threshold={given}: expected a number from 0 to 1"


def test_socket__is_on_this_machine_alone():
    with listening(0) as place:
        assert place.getsockname()[0] == "127.0.0.1"


def test_port__that_is_taken_is_named(checkpoint, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit):
            main(["demo", str(checkpoint), "--port", str(port)])
    assert capsys.readouterr().err.startswith(f"error: --port={port}: Address already in use; expected a free one")

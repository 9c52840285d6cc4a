"""``dotcom demo``: the page in a real browser, and the server on its own."""

import base64
import io
import json
import socket
import subprocess
import threading
import time
import zlib
from contextlib import contextmanager
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
from dotcom.demo.answers import MAX_PIXELS, Answers, without_co_bias
from dotcom.demo.connections import server_of
from dotcom.demo.server import MAX_BYTES, MAX_CONNECTIONS, MAX_UPLOADS, application
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
    place = listening(0)
    server = server_of(app)
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


HEAD = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n"


def connected(address: str, *parts: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=SECONDS)
    for part in parts:
        connection.sendall(part)
    return connection


def heard(connection: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_upload__that_is_aborted_leaves_nothing(capfd):
    with served(application(Stub(), {})) as address:
        for _ in range(2 * MAX_UPLOADS):  # each of them gives its place back
            connected(address, HEAD.format(1000).encode(), b"half of it").close()
        deadline = time.monotonic() + SECONDS
        while b"200 OK" not in (answer := heard(connected(address, HEAD.format(1).encode(), b"x"))):
            assert b" 503 " in answer
            assert time.monotonic() < deadline
    assert capfd.readouterr().err == ""


def test_uploads__are_limited_in_number():
    with served(application(Stub(), {})) as address:
        open_ones = [connected(address, HEAD.format(9).encode(), b"half") for _ in range(MAX_UPLOADS)]
        deadline = time.monotonic() + SECONDS
        while b" 503 " not in (answer := heard(connected(address, HEAD.format(1).encode(), b"x"))):
            assert time.monotonic() < deadline  # until all four have arrived
        assert b"4 pictures are being looked at already; try again" in answer
        for connection in open_ones:
            connection.sendall(b" more")
            assert b"200 OK" in heard(connection)


def test_connections__are_limited_and_end_if_they_say_nothing(monkeypatch):
    monkeypatch.setattr(demo_server, "PATIENCE", 3.0)
    with served(application(Stub(), {})) as address:
        silent = [connected(address, b"POST /pre") for _ in range(MAX_CONNECTIONS)]
        slow = [HEAD.format(9).encode(), b"half"]
        deadline = time.monotonic() + SECONDS
        while b" 503 " not in (answer := heard(connected(address, HEAD.format(1).encode(), b"x"))):
            assert time.monotonic() < deadline
        assert b"Service Unavailable" in answer
        assert {heard(connection) for connection in silent} == {b""}
        assert b"the picture did not arrive within 3 s" in heard(connected(address, *slow))
        assert b"200 OK" in heard(connected(address, HEAD.format(1).encode(), b"x"))


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


def test_bug__is_a_message_and_the_server_goes_on(client):
    assert client.post("/predict", content=b"bug").json() == {"error": "something went wrong; the terminal says what"}
    assert client.post("/predict", content=b"x").status_code == 200


@pytest.mark.parametrize(("given", "used"), [("0.5", 0.5), ("7", 1.0), ("-1", 0.0)])
def test_threshold__is_kept_in_range(client, given, used):
    assert client.post(f"/predict?threshold={given}", content=b"x").json()["threshold"] == used


def test_threshold__that_is_no_number_is_a_message(client):
    assert client.post("/predict?threshold=x", content=b"x").status_code == 400


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

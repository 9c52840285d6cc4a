"""``dotcom demo``: a page in the browser, on this machine alone, to try a checkpoint."""

import argparse
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotcom.errors import UsageError, listed
from dotcom.inference.saved_run import saved_run

if TYPE_CHECKING:
    from dotcom.inference.predictor import Predictor

HOST = "127.0.0.1"  # not reachable from elsewhere: anybody who can reach the page can keep the machine busy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Spell the command line."""
    parser.add_argument("ckpt", type=Path, metavar="CKPT", help="best.ckpt or last.ckpt of a run")
    parser.add_argument("--port", type=int, default=7860, metavar="N", help="of the page (default: 7860)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    if absent := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise UsageError(f"dotcom demo needs {' and '.join(absent)}: pip install 'dotcom[demo]'")
    saved_run(arguments.ckpt)
    with listening(arguments.port) as place:  # a mistake is answered here, before torch is imported
        from dotcom.demo.answers import Answers
        from dotcom.demo.connections import server_of
        from dotcom.demo.server import application
        from dotcom.inference.predictor import Predictor

        predictor = Predictor(arguments.ckpt, arguments.device)
        app = application(Answers(predictor), about(arguments.ckpt, predictor))
        print(f"http://{HOST}:{place.getsockname()[1]}  (Ctrl-C ends it)", flush=True)
        server_of(app).run(sockets=[place])
    return 0


def listening(port: int) -> socket.socket:
    """A socket on this machine's own address.

    Raises:
        UsageError: If the port cannot be had.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port={port}: expected a number up to 65535")
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((HOST, port))
    except OSError as error:
        place.close()
        raise UsageError(f"--port={port}: {error.strerror}; expected a free one, or 0 to take any") from None
    return place


def about(path: Path, predictor: "Predictor") -> dict[str, Any]:
    """What the page says of the checkpoint."""
    config = predictor.config
    name = config["task"]["model"]["backbone"]
    network = f"DoTCoM {name['variant']}" if "variant" in name else name.get("name", "network")
    biased = f", co_bias={str(config['co_bias']).lower()}" if "co_bias" in config else ""
    line = f"{path}: {listed(predictor.classes, 12)}; {predictor.device.type}{biased}"
    return {"name": f"{network}, {predictor.task.lower()}", "line": line, "task": predictor.task}

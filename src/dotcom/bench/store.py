"""An object store on this machine, in another process, so that its CPU time is not counted."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dotcom.object_store import client

STARTUP = 30.0  # seconds that it may take to answer


@contextmanager
def store(shards: Path) -> Iterator[str]:
    """The address of a copy of ``shards`` in an object store, another process on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    settings |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "bench")
    before = {name: os.environ.get(name) for name in settings}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        os.environ.update(settings)
        try:
            wait_for(port)
            upload(shards, client())
            yield "s3://bench/shards"
        finally:
            process.kill()
            for name, value in before.items():
                restore(name, value)


def wait_for(port: int) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + STARTUP
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"the object store did not answer within {STARTUP:g} s")


def upload(folder: Path, to: Any) -> None:
    """Copy a folder to ``s3://bench/shards``."""
    to.create_bucket(Bucket="bench")
    for path in folder.rglob("*"):
        if path.is_file():
            to.upload_file(str(path), "bench", f"shards/{path.relative_to(folder)}")


def restore(name: str, value: str | None) -> None:
    """An environment variable."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value

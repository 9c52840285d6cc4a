"""Stands for W&B's server: answers what the client asks when it syncs runs or saves views, and keeps what it gets."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PROJECT = {"id": "1", "internalId": "1", "name": "dotcom", "entityName": "me", "entity": {"id": "1", "name": "me"}}
LISTED = PROJECT | {"user": None, "createdAt": "2026-01-01T00:00:00", "isBenchmark": False}
PAGE = {"pageInfo": {"endCursor": "1", "hasNextPage": False}, "edges": [{"node": LISTED, "cursor": "1"}]}
USER = {"id": "1", "entity": "me", "username": "me", "name": "me", "email": "", "flags": "{}", "teams": {"edges": []}}


class Server(ThreadingHTTPServer):
    """Listens on a free port of this machine.

    Attributes:
        url: Where it listens.
        views: The workspaces and reports that were saved.
        runs: For each run's id the lines of its history, in the order in which they stand on the server.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.views: list[dict[str, Any]] = []
        self.runs: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args: Any) -> None:
        self.shutdown()
        self.server_close()

    def take_lines(self, run: str, sent: dict[str, Any]) -> None:
        """Put lines of a history where the client wants them, over what stands there."""
        if sent["content"]:
            self.runs[run][sent["offset"] :] = sent["content"]

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """To a GraphQL query."""
        data: dict[str, Any] = {"viewer": USER, "project": PROJECT, "models": PAGE}
        if "upsertView" in query:
            self.views.append(given)
            view = given | {"id": "1", "type": "runs", "project": PROJECT, "user": USER}
            data["upsertView"] = {"view": view | {"updatedAt": None, "createdAt": None}, "inserted": True}
        elif "RunResumeStatus" in query:
            lines = self.runs.get(given["name"])
            data["model"] = PROJECT | {"bucket": None if lines is None else bucket(given["name"], lines)}
        elif "UpsertBucket" in query:
            lines = self.runs.setdefault(given["name"], [])
            data["upsertBucket"] = {"bucket": bucket(given["name"], lines), "inserted": not lines}
        elif "CreateRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload"} for name in given["files"]]
            data["createRunFiles"] = {"runID": "1", "uploadHeaders": [], "files": files}
        return data


def bucket(name: str, lines: list[str]) -> dict[str, Any]:
    """A run as the server describes it to one who wants to go on with it."""
    about = {"id": name, "name": name, "displayName": name, "description": "", "config": "{}", "project": PROJECT}
    counts = {"historyLineCount": len(lines), "logLineCount": 0, "eventsLineCount": 0}
    tails = {"historyTail": json.dumps(lines[-1:]), "eventsTail": "[]", "summaryMetrics": "{}", "tags": []}
    return about | counts | tails | {"wandbConfig": '{"t": 1}', "sweepName": None}


class Handler(BaseHTTPRequestHandler):
    """Passes requests on."""

    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
        answer: dict[str, Any] = {}
        if self.path == "/graphql":
            asked = json.loads(body)
            answer = {"data": self.server.answer(asked["query"], asked.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            sent = json.loads(body).get("files", {}).get("wandb-history.jsonl")
            self.server.take_lines(self.path.split("/")[-2], sent or {"offset": 0, "content": []})
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_POST  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass

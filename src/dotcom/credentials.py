"""Passwords and keys in addresses: refused before anything writes or prints them. Nothing here imports torch."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dotcom.errors import UsageError

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)
# before an @: KEY:SECRET, of which the secret may hold a slash, but not HOST:PORT/...; or a name or token alone
USER = re.compile(r"://([^\s/:@]*:(?!\d+(?:/|$))[^\s@]*|[^\s/@]+)@")
SECRETS = "signature|token|secret|password|credential|api_?key|accesskeyid"
QUERY = re.compile(rf"[?&](?:[\w-]*(?:{SECRETS})|sig)=", re.IGNORECASE)


def check_credentials(texts: Iterable[str]) -> None:
    """Raise UsageError for an address that holds a password, a key or a token; the message does not show it.

    A run writes its settings into files, logs and checkpoints, which other people read.

    Args:
        texts: Words of a command line, or ``key=value`` of a configuration.
    """
    for text in texts:
        for found in ADDRESS.finditer(text):
            if USER.search(found[0]) or QUERY.search(found[0]):
                key = text[: found.start()].strip("'\" +")
                scheme = found[0].partition("://")[0]
                raise UsageError(
                    f"{key}{scheme}://***: the address holds a password or a key, which files and logs would keep; "
                    f"expected {scheme}://HOST/PATH, and credentials in the environment, such as AWS_ACCESS_KEY_ID "
                    "and AWS_SECRET_ACCESS_KEY"
                )


def spelled_leaves(node: Any, prefix: str = "") -> Iterable[str]:
    """Each text in nested plain values as ``key=value``."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from spelled_leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from spelled_leaves(value, prefix)
    elif isinstance(node, str):
        yield f"{prefix}={node}"

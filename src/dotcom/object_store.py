"""An object store that speaks S3, through boto3. Nothing here imports torch.

Endpoint and credentials are those of the usual environment variables: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, or a profile.
"""

import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from dotcom.credentials import check_credentials
from dotcom.errors import UsageError, flat

REMOTE = "s3://"


def is_remote(root: object) -> bool:
    """Whether ``data.root`` is an address instead of a folder."""
    return str(root).startswith(REMOTE)


class Missing(Exception):  # noqa: N818
    """The store answers that there is no such object."""


class Refused(Exception):  # noqa: N818
    """There is no answer, or one that is no object; it says why."""


def read_object(root: str, name: str) -> bytes:
    """The content of a small object."""
    bucket, prefix = address(root)
    try:
        body: bytes = client().get_object(Bucket=bucket, Key=prefix + name)["Body"].read()
    except Exception as error:  # botocore makes the classes of its errors as it goes
        raise understood(error) from None
    return body


def download(root: str, name: str, to: Path) -> None:
    """Write an object to a file."""
    bucket, prefix = address(root)
    try:
        client().download_file(bucket, prefix + name, str(to))
    except Exception as error:
        raise understood(error) from None


def understood(error: Exception) -> Exception:
    """What an error of boto3 means; what is not one stays as it is, such as a full disk."""
    if isinstance(error, UsageError) or not type(error).__module__.startswith(("botocore", "boto3")):
        return error
    response = getattr(error, "response", None)  # a dict, if it is an answer of the store
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return Missing() if code in ("NoSuchKey", "404") else Refused(flat(str(error)))


def address(root: str) -> tuple[str, str]:
    """Bucket and prefix, the latter empty or with a slash at its end."""
    check_credentials([f"data.root={root}"])
    bucket, _, prefix = root.removeprefix(REMOTE).partition("/")
    if not bucket:
        raise UsageError(f"data.root={root}: expected s3://BUCKET/PATH")
    return bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def client() -> Any:
    """The client of this process, which no other may share."""
    return _client(os.getpid(), os.environ.get("AWS_ENDPOINT_URL"))


@lru_cache
def _client(process: int, endpoint: str | None) -> Any:
    try:
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError("data.root=s3://...: it needs an extra; pip install 'dotcom[streaming]'") from None
    logging.getLogger("botocore").setLevel(logging.WARNING)  # else it says where it found the credentials
    own_endpoint = any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    style = "path" if own_endpoint else "auto"  # other servers have no host name for each bucket
    return boto3.session.Session().client(
        "s3",
        config=Config(
            s3={"addressing_style": style}, connect_timeout=10, read_timeout=60, retries={"total_max_attempts": 1}
        ),
    )


def advice() -> str:
    """What may be wrong if a store cannot be asked."""
    return (
        f"expected s3://BUCKET/PATH that AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL "
        f"({os.environ.get('AWS_ENDPOINT_URL', 'not set: Amazon')}) lead to"
    )

"""Files at ``http://`` and ``https://`` addresses, by the standard library: what a server's answers mean.

fsspec's own file system for them tells every failure as a missing file, and waits for a silent server without end.
"""

import base64
import contextlib
import errno
import http.client
import string
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from maskkit.data.limits import download_seconds
from maskkit.files import short_reason

CHUNK = 1 << 20  # bytes read at a time

_SLOWEST = 100  # bytes per second; a server that sends less counts as silent

_BUSY = (408, 425, 429)  # statuses below 500 that another try may change


class RefusedError(OSError):
    """An answer that another try would not change."""


@dataclass(frozen=True)
class Body:
    """The bytes of a remote file from ``start`` on."""

    read: Callable[[], bytes]
    """Returns the next bytes, none at the end."""
    start: int = 0
    size: int = -1
    """Length of the whole file in bytes, -1 if the server does not say it."""
    version: str = ""
    """What the server calls these contents. Without it, reading cannot go on after a break."""


def is_web(address: str) -> bool:
    """Return whether an address is read by this module."""
    return address.lower().startswith(("http://", "https://"))


@contextlib.contextmanager
def open_web(address: str, start: int, version: str) -> Iterator[Body]:
    """Open an address at byte ``start`` of a ``version``, or at its first byte if it has changed or must be read whole.

    Raises FileNotFoundError, PermissionError, RefusedError, or an OSError for what another try may mend.
    """
    seconds = download_seconds()
    with _one_reason(seconds), urllib.request.urlopen(_request(address, start, version), timeout=seconds) as response:
        first = start if response.status == http.client.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length", "")
        yield Body(
            read=_steady(response, seconds),
            start=first,
            size=first + int(length) if length.isdecimal() else -1,
            version=response.headers.get("ETag") or response.headers.get("Last-Modified") or "",
        )


def _request(address: str, start: int, version: str) -> urllib.request.Request:
    parts = urlsplit(address)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(quote(plain, safe=string.punctuation))  # names may hold blanks and umlauts
    if start and version:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", version)
    if parts.username:  # not sent on to where the server redirects
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    return request


def _steady(response: http.client.HTTPResponse, seconds: float) -> Callable[[], bytes]:
    """Return a function that reads on. It raises TimeoutError where hardly anything came for some seconds."""
    began, count = time.monotonic(), 0

    def read() -> bytes:
        nonlocal began, count
        chunk = response.read1(CHUNK)
        count, now = count + len(chunk), time.monotonic()
        if now - began > seconds:
            if chunk and count < _SLOWEST * seconds:
                raise TimeoutError
            began, count = now, 0
        return chunk

    return read


@contextlib.contextmanager
def _one_reason(seconds: float) -> Iterator[None]:
    """Tell errors of connections and answers as what they are."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(error.code, str(error.reason)) from None
    except urllib.error.URLError as error:
        reason = error.reason if isinstance(error.reason, BaseException) else error
        if isinstance(reason, TimeoutError):
            raise TimeoutError(f"no connection within {seconds:g} seconds") from None
        raise ConnectionError(f"no connection: {short_reason(reason)}") from None
    except TimeoutError:
        limit = f"{seconds:g} seconds (MASKKIT_DOWNLOAD_SECONDS)"
        raise TimeoutError(f"the server sent nothing, or next to nothing, for {limit}") from None
    except http.client.HTTPException as error:
        raise ConnectionError(f"the connection broke off: {short_reason(error)}") from None


def _refusal(status: int, reason: str) -> OSError:
    """Return the error that a status stands for."""
    if status in (404, 410):
        return FileNotFoundError(errno.ENOENT, f"no such file (HTTP {status})")
    if status in (401, 403, 407):
        return PermissionError(errno.EACCES, f"permission denied (HTTP {status})")
    if 300 <= status < 400:
        return RefusedError(f"the server redirects in circles, or to no address (HTTP {status})")
    text = f"the server answers HTTP {status} {reason}".rstrip()
    return OSError(text) if status >= 500 or status in _BUSY else RefusedError(text)

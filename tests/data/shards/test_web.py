"""Shards on web servers that are busy, silent, gone, or send something else. All servers here are real."""

import base64
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import pytest

from maskkit.data.find import find_files
from maskkit.data.limits import time_limit
from maskkit.data.shards.download import open_anywhere
from tests.data.shards.test_tars import SUFFIXES, cache, contents, kept, outcome, write_shards  # noqa: F401

PAGE = b"<!DOCTYPE html><html><title>Log in</title></html>" * 40
SECONDS = 1.0  # for which the server may be silent


class Handler(BaseHTTPRequestHandler):
    """Serves one shard. The first folder of a path says how: ``/busy-2/s-00.tar`` is busy for two requests."""

    protocol_version = "HTTP/1.1"
    shard, requests, ranges, over = b"", [], True, threading.Event()

    def log_message(self, *words):
        pass

    def do_GET(self):  # noqa: N802
        _, manner, name = self.path.split("/")
        manner, _, times = manner.partition("-")
        self.close_connection = True
        if name.endswith(".json"):
            return self.answer(200, PAGE) if manner == "login" else self.answer(404)
        self.requests.append(self.headers.get("Range"))
        if manner.isdigit() and (not times or len(self.requests) <= int(times)):
            return self.answer(int(manner), PAGE)
        if times and len(self.requests) > int(times):
            manner = "whole"
        return getattr(self, manner, self.whole)()

    def answer(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        for key, value in {"Content-Length": len(body) if length is None else length, **headers}.items():
            self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def whole(self):
        start = int(self.headers["Range"][6:-1]) if self.ranges and self.headers.get("Range") else 0
        self.answer(206 if start else 200, self.shard[start:], ETag='"1"')

    def login(self):
        self.answer(200, PAGE)

    def circle(self):
        self.answer(302, Location=self.path)

    def short(self):
        self.answer(200, self.shard[:6000], len(self.shard), ETag='"1"')

    def silent(self):
        self.answer(200, self.shard[:6000], len(self.shard))
        self.over.wait(5 * SECONDS)

    def mute(self):
        self.over.wait(5 * SECONDS)

    def drips(self):
        self.answer(200, b"", len(self.shard))
        for number in range(40):
            self.over.wait(SECONDS / 4)
            self.wfile.write(self.shard[number : number + 1])
            self.wfile.flush()

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def secret(self):
        right = self.headers.get("Authorization") == f"Basic {base64.b64encode(b'me:pass word').decode()}"
        return self.whole() if right else self.answer(401)

    def chunked(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(self.shard), 4096):
            chunk = self.shard[start : start + 4096]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def server(tmp_path, monkeypatch, cache):  # noqa: F811
    """The address of a server of a shard with four samples."""
    Handler.shard = (write_shards(tmp_path / "data", [4]) / "s-00.tar").read_bytes()
    Handler.requests, Handler.ranges = [], True
    monkeypatch.setenv("MASKKIT_DOWNLOAD_SECONDS", str(SECONDS))
    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # so that closing waits for them
    Handler.over.clear()
    server.handle_error = lambda *_: None  # clients that hang up
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Handler.over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("manner", "requests"),
    [("whole", 1), ("chunked", 1), ("500-2", 3), ("503-1", 2), ("502-2", 3), ("504-1", 2), ("429-2", 3)]
    + [("reset-2", 3), ("silent-1", 2), ("mute-1", 2), ("drips-1", 2), ("short-1", 2)],
)
def test_failures_that_pass_are_tried_again(server, cache, manner, requests):  # noqa: F811
    files = find_files(f"{server}/{manner}/s-00.tar", SUFFIXES)
    assert [outcome(files, index) for index in range(len(files))] == [contents(number) for number in range(4)]
    assert len(Handler.requests) == requests and kept(cache) == ["s-00.tar"] and not [*cache.glob("*.part")]


def test_a_broken_download_goes_on_where_it_broke_if_the_server_can(server):
    for ranges in (True, False):
        Handler.requests, Handler.ranges = [], ranges
        descriptor = open_anywhere(f"{server}/short-1/{ranges}.tar")
        assert os.pread(descriptor, 1 << 20, 0) == Handler.shard
        os.close(descriptor)
        assert Handler.requests == [None, "bytes=6000-"]


@pytest.mark.parametrize(
    ("manner", "reason", "requests"),
    [
        ("500", "the server answers HTTP 500 Internal Server Error", 3),
        ("503", "the server answers HTTP 503 Service Unavailable", 3),
        ("429", "the server answers HTTP 429 Too Many Requests", 3),
        ("400", "the server answers HTTP 400 Bad Request", 1),
        ("403", "permission denied (HTTP 403)", 1),
        ("login", "the server sent a web page or other text, no shard; a login may be needed", 1),
        ("circle", "the server redirects in circles, or to no address (HTTP 302)", None),
        ("short", "only 6000 of 10240 bytes came", 3),
        ("silent", "the server sent nothing, or next to nothing, for 1 seconds (MASKKIT_DOWNLOAD_SECONDS)", 3),
        ("drips", "the server sent nothing, or next to nothing, for 1 seconds (MASKKIT_DOWNLOAD_SECONDS)", 3),
        ("reset", "connection reset by peer", 3),
        ("secret", "permission denied (HTTP 401)", 1),
    ],
)
def test_failures_that_stay_are_told_as_what_they_are(server, cache, manner, reason, requests):  # noqa: F811
    with pytest.raises(ValueError) as caught:
        find_files(f"{server}/{manner}/s-00.tar", SUFFIXES)
    assert f"s-00.tar: cannot be opened ({reason}" in str(caught.value) and "\n" not in str(caught.value)
    assert (
        len(Handler.requests) == (requests or len(Handler.requests)) and not kept(cache) and not [*cache.glob("*.part")]
    )


def test_a_missing_shard_is_told_at_once(server):
    files = find_files(f"{server}/404/s-00.tar", SUFFIXES)
    assert outcome(files, 0) == "no such shard" and len(Handler.requests) == 2  # counted, then read


def test_servers_that_are_not_there(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        for address, reason in (
            (f"http://127.0.0.1:{free.getsockname()[1]}/s-00.tar", "no connection: connection refused"),
            ("http://nowhere.invalid/s-00.tar", "no connection: "),
        ):
            with pytest.raises(ValueError, match=f"cannot be read \\({reason}"):
                find_files(address, SUFFIXES)


@pytest.mark.skipif(find_spec("aiohttp") is not None, reason="fsspec lists web pages with aiohttp")
def test_folders_of_web_servers_are_named_as_ranges(server):
    with pytest.raises(ValueError, match=r"aiohttp.*; or name the shards as a range, such as shard-\{000"):
        find_files(f"{server}/folder", SUFFIXES)


def test_names_with_blanks_and_addresses_with_passwords(server):
    place = server.replace("http://", "http://me:pass%20word@")
    os.close(open_anywhere(f"{place}/secret/ä b.tar"))


def test_a_page_that_was_kept_is_downloaded_again(server, cache):  # noqa: F811
    files = find_files(f"{server}/whole/s-00.tar", SUFFIXES)
    (copy,) = cache.glob("*-s-00.tar")
    copy.write_bytes(PAGE)
    assert outcome(find_files(f"{server}/whole/s-00.tar", SUFFIXES), 3) == outcome(files, 3) == contents(3)


def test_a_silent_server_is_told_and_no_fault_of_the_sample(server, monkeypatch, capfd):
    monkeypatch.setenv("MASKKIT_DOWNLOAD_SECONDS", "2.4")
    monkeypatch.setenv("MASKKIT_SAMPLE_SECONDS", "1")
    monkeypatch.setattr(Handler, "mute", lambda self: time.sleep(2.2) or self.whole())
    with time_limit():
        os.close(open_anywhere(f"{server}/mute/s-00.tar"))
    assert capfd.readouterr().err == f"downloading {server}/mute/s-00.tar: 0.0 MB, nothing came for 2 s\n"


def test_a_download_that_was_killed_leaves_no_shard(server, cache):  # noqa: F811
    address = f"{server}/silent-1/s-00.tar"
    code = f"from maskkit.data.shards.download import open_anywhere; open_anywhere({address!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "MASKKIT_DOWNLOAD_SECONDS": "60", "no_proxy": "*"}
    )
    while not [part for part in cache.glob("*.part") if part.stat().st_size]:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not kept(cache)
    assert outcome(find_files(address, SUFFIXES), 3) == contents(3) and not [*cache.glob("*.part")]

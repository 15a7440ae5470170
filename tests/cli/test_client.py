"""The client of the HTTP API: answers in pieces, progress, and servers that are none of ours."""

from __future__ import annotations

import socket
import threading

import pytest

from dagdvid.cli.client import Answer, Api, HttpApi
from dagdvid.errors import RemoteError


class Canned(Api):
    """An API whose every answer is the same."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__()
        self.pieces = pieces
        self.asked = None

    def request(self, method, path, query=None, body=b""):
        self.asked = (method, path, query, body)
        return Answer("", iter(self.pieces))


def test_lines_across_pieces():
    assert list(Answer("", iter([b"a", b"b\nc", b"\n\n", b"d"])).lines()) == [b"ab", b"c", b"", b"d"]
    assert list(Answer("", iter([])).lines()) == []


def test_progress_and_result():
    shown = []
    first = b'{"progress": "sent", "done": 1, "total": 2}\n{"progress": "se'
    api = Canned(first, b'nt", "done": 2}\n{"result": {"a": 1}}')
    assert api.follow("/p", {"x": 1}, lambda *told: shown.append(told)) == {"a": 1}
    assert shown == [("sent", 1, 2), ("sent", 2, None)]
    assert api.asked == ("POST", "/p", {"progress": "true"}, b'{"x": 1}')


@pytest.mark.parametrize(
    ("piece", "says"),
    [
        (b'{"progress": "a", "done": 1}\n{"error": "it failed", "code": "remote"}\n', "it failed"),
        (b'{"progress": "a", "done": 1}\n', "broke off"),
        (b"", "broke off"),
        (b"<html>", "not JSON"),
    ],
)
def test_progress_that_ends_badly(piece, says):
    with pytest.raises(RemoteError, match=says):
        Canned(piece).follow("/p", {}, lambda *_: None)


def test_an_empty_answer_to_a_post_is_none():
    assert Canned().post("/p") is None
    with pytest.raises(RemoteError, match="not JSON"):
        Canned().get("/p")


def answering(*parts):
    """The URL of a server that answers the first connection with these bytes, then closes it."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with server, server.accept()[0] as connection:
            connection.recv(10_000)
            for part in parts:
                connection.sendall(part)

    thread = threading.Thread(target=serve)
    thread.start()
    return f"http://127.0.0.1:{server.getsockname()[1]}", thread


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "the connection to http://127.0.0.1:.* failed: "),
        (b"hello\r\n\r\n", "the connection to .* failed: "),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404; is it a dagdvid server"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 6\r\n\r\nsorry\n", "^sorry$"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "the connection to .* failed: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "not JSON"),
    ],
)
def test_servers_that_are_none_of_ours(answer, says):
    url, thread = answering(answer)
    with HttpApi(url) as api, pytest.raises(RemoteError, match=says) as caught:
        api.get("/api/repos/info")
    thread.join()
    assert "\n" not in str(caught.value)


def test_the_token_is_sent_where_there_is_one(monkeypatch):
    monkeypatch.setenv("DVID_ADMIN_TOKEN", "se cret")
    got = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with server, server.accept()[0] as connection:
            got.append(connection.recv(10_000))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    thread = threading.Thread(target=serve)
    thread.start()
    with HttpApi(f"http://127.0.0.1:{server.getsockname()[1]}/") as api:
        assert api.get("/api/node/a:b~1/ké y/x") == {}
    thread.join()
    line = got[0].split(b"\r\n")[0].decode()
    assert line.startswith("GET /api/node/a:b~1/k%C3%A9%20y/x?")
    assert "admintoken=se+cret" in line or "admintoken=se%20cret" in line
    assert "app=dagdvid" in line

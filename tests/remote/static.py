"""A server of static files, as any web server or public bucket: with ranges, counted; and with faults on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Static:
    """Serves a folder. `spoil(path, data)` may change what is answered, or raise ConnectionError to cut it off."""

    def __init__(self, folder: Path, *, ranges: bool = True) -> None:
        self.folder = folder
        self.ranges = ranges
        self.asked: list[tuple[str, str]] = []
        """Paths and ranges."""
        self.spoil: Callable[[str, bytes], bytes] = lambda path, data: data
        self._gone = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def do_HEAD(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if self._gone:
            handler.close_connection = True
            return
        path = handler.path.lstrip("/")
        asked = handler.headers.get("Range", "") if self.ranges else ""
        self.asked.append((path, asked))
        file = self.folder / path
        if not file.is_file():
            handler.send_response(404)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        data = file.read_bytes()
        status, extra = 200, {}
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1, len(data)) if last else len(data)
            extra["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            status, data = 206, data[start:end]
        try:
            body = self.spoil(path, data)
        except ConnectionError:
            handler.close_connection = True
            return
        handler.send_response(status)
        for name, value in (extra | {"Content-Length": str(len(data))}).items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body)
            if len(body) < len(data):
                handler.close_connection = True

    def __enter__(self) -> Static:
        return self

    def __exit__(self, *_: object) -> None:
        self._gone = True  # connections that are kept alive would be served on
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

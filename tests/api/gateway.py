"""A DatasetGateway for tests: it knows some users, and counts how often it is asked."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USERS = {
    "ann": {"email": "ann@x", "name": "Ann", "admin": False, "groups": [], "permissions_v2": {"vnc": ["view"]}},
    "ed": {"email": "ed@x", "admin": False, "permissions_v2": {"vnc": ["edit"]}, "datasets_admin": []},
    "da": {"email": "da@x", "permissions_v2": {}, "datasets_admin": ["vnc"]},
    "root": {"email": "root@x", "admin": True},
    "odd": {"email": 5},
}


class TestGateway:
    __test__ = False

    def __init__(self) -> None:
        self.asked: list[str] = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, _, token = self.headers["Authorization"].partition(" ")
                gateway.asked.append(token)
                good = (kind, self.path) == ("Bearer", "/api/v1/user/cache")
                status = 500 if token == "boom" else 200 if good and token in USERS else 401
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"oops\n" if status == 500 else json.dumps(USERS.get(token)).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

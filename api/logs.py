"""The server's log: to standard error or to a file that all processes share, as text or JSON."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from dagdvid.config import Config

__all__ = ["JsonLines", "RotatedFile", "set_up_logging"]

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_MB = 1 << 20
_DAY = 86400.0


def set_up_logging(config: Config) -> None:
    """Log what happens; only what is wrong, if the configuration wants no access log."""
    settings = config.logging
    handler: logging.Handler = logging.StreamHandler()
    if settings.logfile is not None:
        handler = RotatedFile(settings.logfile, settings.max_log_size * _MB, settings.max_log_age * _DAY)
    handler.setFormatter(JsonLines() if settings.format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO if config.access_log else logging.WARNING, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message; of requests, `fields` as well."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


class RotatedFile(logging.Handler):
    """A file to which several processes append whole lines, and which one of them puts aside when it is large.

    The file that was put aside has the time in its name. Whoever else puts it aside (logrotate) is followed, too.
    """

    def __init__(self, path: Path, most: int, age: float) -> None:
        """Append to a file; begin a new one above `most` bytes, delete old ones after `age` seconds; 0 is never."""
        super().__init__()
        self._path, self._most, self._age = path, most, age
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
            if self._moved():
                os.close(self._file)
                self._open()
            elif self._most and os.fstat(self._file).st_size + len(line) > self._most:
                self._rotate()
            os.write(self._file, line)
        except Exception:  # noqa: BLE001 - a log that cannot be written must not end what is logged
            self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
        super().close()

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _moved(self) -> bool:
        try:
            there = os.stat(self._path)  # noqa: PTH116 - for every line
        except FileNotFoundError:
            return True
        here = os.fstat(self._file)
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)

    def _rotate(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            if not self._moved() and os.fstat(self._file).st_size:
                self._path.rename(self._aside())
                self._delete_old()
        finally:
            os.close(self._file)  # and with it the lock
            self._open()

    def _aside(self) -> Path:
        stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())
        for n in range(10_000):
            path = self._path.with_name(f"{self._path.stem}-{stamp}.{n:04}{self._path.suffix}")
            if not path.exists():
                return path
        return self._path.with_name(f"{self._path.stem}-{stamp}-{time.monotonic_ns()}{self._path.suffix}")

    def _delete_old(self) -> None:
        if not self._age:
            return
        for path in self._path.parent.glob(f"{self._path.stem}-*.[0-9][0-9][0-9][0-9]{self._path.suffix}"):
            if path.stat().st_mtime < time.time() - self._age:
                path.unlink(missing_ok=True)

"""What a server does around its life: a file with its process id, a word to others that it starts, SIGHUP."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from dagdvid.config import Config
from dagdvid.errors import UnavailableError

__all__ = ["around", "warn_if_open"]

log = logging.getLogger("dagdvid.api")


@contextmanager
def around(config: Config) -> Iterator[None]:
    """The life of a server that listens already, but has not begun to answer.

    Raises:
        RemoteError: who must be told that it starts does not answer 200 (DVID: startWebhook, startJaneliaConfig).
        UnavailableError: the file of the process id cannot be written.
    """
    from dagdvid.server import reload_files, tell_start  # noqa: PLC0415 - as in serve

    tell_start(config)
    before = signal.signal(signal.SIGHUP, lambda *_: reload_files(config))
    try:
        with _pid_file(config):
            yield
    finally:
        signal.signal(signal.SIGHUP, before)


def warn_if_open(config: Config) -> None:
    """Say so where others than this machine reach the server and nobody is asked who they are."""
    if config.loopback_only or config.auth.enforced:
        return
    changes = "read it" if config.readonly else "read and change all that it has"
    manage = "only with the admin token" if config.admin_token else "refused, as there is no DVID_ADMIN_TOKEN"
    log.warning(
        "ANYBODY who reaches %s:%d can %s: the configuration asks nobody who they are ([auth] enforce); "
        "what admins do is %s",
        config.host or "*",
        config.port,
        changes,
        manage,
    )


@contextmanager
def _pid_file(config: Config) -> Iterator[None]:
    path = config.pid_file
    if path is None:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:
        raise UnavailableError(f"cannot write pidFile {path}: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)

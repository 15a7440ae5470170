"""What errors look like on the wire: DVID's statuses and its one-line text form (server/web.go, BadRequest)."""

from __future__ import annotations

from dagdvid.errors import (
    Blocked,
    Busy,
    ConflictError,
    DagdvidError,
    DamageError,
    FateUnknown,
    Forbidden,
    KeyAbsent,
    NoAccess,
    NoSpace,
    Offline,
    ReadOnly,
    RemoteError,
    RequestError,
    TooLarge,
    Unauthenticated,
    UnavailableError,
)
from dagdvid.routes import Reply

__all__ = ["ERROR_HEADER", "STATUSES", "busy", "crash", "not_found", "problem", "status_of"]

ERROR_HEADER = "X-Dagdvid-Error"
"""The header that carries an error's stable `code`, for programs."""

RETRY_AFTER = 1
"""Seconds after which to try again what was unavailable for a moment."""

STATUSES: tuple[tuple[type[DagdvidError], int], ...] = (
    (KeyAbsent, 404),
    (TooLarge, 413),
    (Blocked, 429),
    (Unauthenticated, 401),
    (NoAccess, 403),
    (Forbidden, 400),  # DVID refuses a wrong admin token so
    (RequestError, 400),
    (ConflictError, 409),
    (NoSpace, 507),
    (ReadOnly, 400),  # as DVID in read-only mode
    (UnavailableError, 503),
    (Offline, 503),
    (RemoteError, 502),
    (DamageError, 500),
    (DagdvidError, 500),
)
"""Error classes and their statuses; the first that an error is an instance of counts."""

PLAIN = "text/plain; charset=utf-8"


def status_of(error: DagdvidError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def problem(error: DagdvidError, path: str) -> Reply:
    """The answer for an error that was raised on purpose; `path` is the decoded path of the URL."""
    status = status_of(error)
    message = " ".join(str(error).split())
    if path and not isinstance(error, Blocked) and not message.endswith(f"({path})."):
        message = f"{message} ({path})."
    headers = {ERROR_HEADER: error.code}
    if status == 503 and not isinstance(error, FateUnknown):  # else a client might do twice what must be done once
        headers["Retry-After"] = str(RETRY_AFTER)
    return _text(message, status, headers)


def not_found() -> Reply:
    """The answer for a path or method that no route has, as DVID's router gives it."""
    return _text("404 page not found", 404, {})


def busy() -> Reply:
    """The answer where too many requests are in work."""
    return problem(Busy("too many requests at once; try again in a moment"), "")


def crash(request_id: str) -> Reply:
    """The answer for a mistake of ours; the log has the traceback under the request's id."""
    return _text(f"internal error, logged as request {request_id}", 500, {})


def _text(message: str, status: int, headers: dict[str, str]) -> Reply:
    body = f"{message}\n".encode("utf-8", "backslashreplace")
    return Reply(body, PLAIN, status, {"X-Content-Type-Options": "nosniff", **headers})

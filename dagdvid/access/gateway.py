"""Users as DatasetGateway knows them (DVID: server/auth.go): asked by their token, remembered for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from dagdvid.config import Auth
from dagdvid.errors import Busy, NoAccess, RemoteError, Unauthenticated
from dagdvid.routes import WouldWait

__all__ = ["Gateway", "GatewayUser"]

_TIMEOUT = 10.0
_AT_ONCE = 4
"""Questions under way: threads are few, and whoever sends tokens that nobody knows must not take all of them."""
_MOST_KEPT = 10_000
_REFUSED_FOR = 10.0
"""Seconds for which a token that is not known is not asked about again."""
_LONGEST_TOKEN = 8192
_LONGEST_ANSWER = 1 << 20


@dataclass(frozen=True)
class GatewayUser:
    """What DatasetGateway says of one."""

    email: str
    admin: bool = False
    permissions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """view, edit, manage or admin, by dataset."""
    manages: frozenset[str] = frozenset()
    """Datasets in which it may do everything."""

    def may(self, dataset: str, reading: bool) -> bool:
        """Whether it may read, or write, a dataset."""
        given = self.permissions.get(dataset, frozenset())
        return dataset in self.manages or bool(given & {"edit", "manage", "admin"}) or (reading and "view" in given)


class Gateway:
    """Asks a DatasetGateway. Safe for threads."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._url = auth.dsg_address.rstrip("/") + "/api/v1/user/cache"
        self._known: dict[str, tuple[GatewayUser | None, float]] = {}
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def user(self, token: str, *, wait: bool = True) -> GatewayUser:
        """The user of a token.

        Raises:
            Unauthenticated: there is no token, or none that is known. RemoteError: it cannot be asked.
            Busy: too many questions are under way. WouldWait: it must be asked, and `wait` is False.
        """
        if not token:
            raise Unauthenticated("dsg token required via Authorization header or dsg_token cookie")
        if len(token) > _LONGEST_TOKEN or not token.isascii() or not token.isprintable():
            raise Unauthenticated("invalid DSG token")
        user, until = self._known.get(token, (None, 0.0))
        if time.monotonic() >= until:
            if not wait:
                raise WouldWait
            if not self._turns.acquire(timeout=_TIMEOUT):
                raise Busy("too many questions to the authentication service at once; try again in a moment")
            try:
                user, until = self._known.get(token, (None, 0.0))
                if time.monotonic() >= until:
                    user = self._ask(token)
            finally:
                self._turns.release()
        if user is None:
            raise Unauthenticated("invalid DSG token")
        return user

    def check(self, user: GatewayUser, root: str, reading: bool) -> None:
        """Raise NoAccess where a user may not do that with a repo."""
        if user.admin:
            return
        dataset = self._auth.dataset_map.get(root)
        if not self._auth.dataset_map:
            raise NoAccess("dsg auth requires auth.dataset_map to be configured")
        if not dataset:
            raise NoAccess(f"no DSG dataset mapping configured for root UUID {root}")
        if not user.may(dataset, reading):
            raise NoAccess(f'user "{user.email}" does not have sufficient access to dataset "{dataset}"')

    def _ask(self, token: str) -> GatewayUser | None:
        try:
            with (
                httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=False) as client,
                client.stream("GET", self._url, headers={"Authorization": f"Bearer {token}"}) as answer,
            ):
                text = b""
                for piece in answer.iter_bytes():
                    text += piece
                    if len(text) > _LONGEST_ANSWER:
                        break
        except httpx.HTTPError as error:
            raise RemoteError(f"unable to contact DSG auth service: {error or type(error).__name__}") from None
        user = None
        if answer.status_code == 200:
            user = _user(answer, text)
        elif answer.status_code not in (401, 403):
            said = text[:200].decode("utf-8", "replace").strip()
            raise RemoteError(f"unexpected DSG auth response ({answer.status_code}): {said}")
        if len(self._known) >= _MOST_KEPT:
            self._known = {}
        self._known[token] = (user, time.monotonic() + (self._auth.dsg_cache_ttl if user else _REFUSED_FOR))
        return user


def _user(answer: httpx.Response, text: bytes) -> GatewayUser:
    try:
        fields = httpx.Response(200, content=text).json()
        permissions = fields.get("permissions_v2") or {}
        return GatewayUser(
            email=_string(fields.get("email", "")),
            admin=fields.get("admin") is True,
            permissions={_string(name): frozenset(map(_string, given)) for name, given in permissions.items()},
            manages=frozenset(map(_string, fields.get("datasets_admin") or ())),
        )
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise RemoteError(f"unable to decode DSG user cache response of {answer.url.host}") from None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value

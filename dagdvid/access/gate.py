"""The gate that every request passes before anything is looked up for it: who sends it, and what they may see.

It stands before dispatch, so that no lane of the HTTP service can lead around it, and so that strangers do not learn
from errors what is there.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from dagdvid.access.gateway import Gateway, GatewayUser
from dagdvid.access.lists import may, read_blocks, read_rights
from dagdvid.access.publicity import is_open, public_versions
from dagdvid.access.reloaded import Reloaded
from dagdvid.access.tokens import user_of
from dagdvid.config import Config
from dagdvid.errors import BadRequest, Busy, Forbidden, RemoteError, Unauthenticated
from dagdvid.repo.catalog import Catalog
from dagdvid.routes import EVERYBODY, Reach, Request, Route, Visitor
from dagdvid.sharedfolder import SharedFolder

__all__ = ["READING", "Gate"]

READING = frozenset({"GET", "HEAD", "OPTIONS"})
_UNGUARDED = frozenset({"load", "heartbeat", "user-latencies", "health", "ready", "metrics"})
"""Words after /api/ that answer even those who are kept out, as in DVID."""
_SCOPED = frozenset({"repo", "node"})


class _Authority:
    """What is known of users; made anew by a reload."""

    def __init__(self, config: Config) -> None:
        file = config.auth.auth_file
        self.rights = {} if file is None else read_rights(file)
        self.gateway = Gateway(config.auth)


class Gate:
    """Lets requests in, for one process of a server."""

    def __init__(self, config: Config, catalog: Catalog) -> None:
        """Raise BadRequest where the configuration names what is not there, or files that cannot be used."""
        self._config, self._catalog = config, catalog
        self.public = public_versions(catalog, config.auth.public_versions)
        shared = SharedFolder(config.data)
        self._authority = Reloaded(lambda: _Authority(config), shared, "auth") if config.auth.enforced else None
        blocks = config.auth.block_file
        self._blocks = None if blocks is None else Reloaded(lambda: read_blocks(blocks), shared, "blocklist")
        self._idle = self._authority is None and self._blocks is None

    def reload_auth(self) -> Path | str:
        """Read the file of rights again and forget what DatasetGateway said, in all processes. What was read."""
        if self._authority is None:
            raise BadRequest("there is nothing to load again: the configuration does not ask who sends a request")
        self._authority.reload()
        return self._config.auth.auth_file or ""

    def reload_blocks(self) -> Path:
        """Read the block list again, in all processes. Which file."""
        if self._blocks is None or self._config.auth.block_file is None:
            raise BadRequest("there is nothing to load again: the configuration names no blockListFile")
        self._blocks.reload()
        return self._config.auth.block_file

    def admit(self, request: Request, *, wait: bool = True) -> Visitor:
        """Who sends a request, if it may go on; `check` then says whether the route that it leads to is for them.

        Raises:
            Blocked, Unauthenticated, NoAccess, Forbidden: it may not.
            RequestError: its path names a version that is not there.
            RemoteError, Busy: who sends it cannot be found out.
            WouldWait: somebody must be asked first, and `wait` is False.
        """
        if self._idle:
            return EVERYBODY
        words = request.path.split("/", 4)
        word = words[2] if len(words) > 2 else ""
        if self._blocks is not None and word not in _UNGUARDED:
            self._blocks.now().check(request.query.get("u", ""), request.client)
        if self._authority is None or request.admin:
            return EVERYBODY
        mode = self._mode(request)
        if mode == "none":
            return EVERYBODY
        root = ""
        if word in _SCOPED and len(words) > 3 and words[3]:
            repo, version = self._catalog.find(words[3])
            if request.method not in READING or version.uuid not in self.public:
                root = repo.root
        visitor = self._identified(self._authority.now(), mode, request, root, wait)
        if self._blocks is not None and visitor.user:
            self._blocks.now().check(visitor.user, "")
        return visitor

    def check(self, visitor: Visitor, scope: str, route: Route) -> None:
        """Raise Unauthenticated where a route is not for a visitor."""
        if visitor.reach is Reach.WHOLE or is_open(scope, route.pattern):
            return
        if scope != "server" and visitor.reach is Reach.REPO:
            return
        raise Unauthenticated("this is not for everybody: say who you are, with a token that may see the whole server")

    def _mode(self, request: Request) -> str:
        auth = self._config.auth
        return auth.enforce_internal if auth.enforce_internal and request.internal else auth.enforce

    def _identified(self, authority: _Authority, mode: str, request: Request, root: str, wait: bool) -> Visitor:
        """A visitor to the repo with a root; without one, to what is public, so that it need not say who it is."""
        reading = request.method in READING
        try:
            if mode == "dsg":
                user = authority.gateway.user(_gateway_token(request), wait=wait)
                if root:
                    authority.gateway.check(user, root, reading)
                return self._gateway_visitor(authority.gateway, user)
            name = user_of(_bearer(request) or _refuse(), self._config.jwt_secret)
            if mode == "authfile" and not may(authority.rights, name, reading):
                raise Forbidden(f'user "{name}" is not authorized')
            return Visitor(name)
        except (Forbidden, RemoteError, Busy):
            if root:
                raise
            return Visitor(reach=Reach.PUBLIC, sees=lambda _: False, public=self.public)

    def _gateway_visitor(self, gateway: Gateway, user: GatewayUser) -> Visitor:
        if user.admin:
            return Visitor(user.email, admin=True)

        def sees(root: str) -> bool:
            try:
                gateway.check(user, root, reading=True)
            except Forbidden:
                return False
            return True

        return Visitor(user.email, Reach.REPO, sees=sees, public=self.public)


def _refuse() -> str:
    raise Forbidden("JWT required via Authorization in request header")


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _gateway_token(request: Request) -> str:
    token = _bearer(request)
    if token or "cookie" not in request.headers:
        return token
    try:
        found = SimpleCookie(request.headers["cookie"]).get("dsg_token")
    except CookieError:
        return ""
    return found.value if found else ""

"""Who may look at a dashboard: pure decisions about one request, and the headers of every answer.

A page of this machine's browser can be made to ask 127.0.0.1 for anything, so being local proves nothing: a request
needs the token, and a Host that no foreign domain name can be made to point here with (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

from ci_dispatch.core.errors import UsageError

TOKEN_VARIABLE = "CI_DISPATCH_DASHBOARD_TOKEN"  # noqa: S105  (its name, not its value)
TOKEN_LENGTH = 16

STREAMS_PER_CLIENT = 5  # browsers open six connections to one server; one must stay free for everything else

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",  # a proxy must pass events on at once
}


def new_token() -> str:
    return secrets.token_urlsafe(24)


def fixed_token(environ: Mapping[str, str]) -> str:
    """The token of CI_DISPATCH_DASHBOARD_TOKEN, with which a link outlives a restart; empty: make a new one."""
    token = environ.get(TOKEN_VARIABLE, "")
    if token and (len(token) < TOKEN_LENGTH or not re.fullmatch(r"[\w~-]+", token, re.ASCII)):
        raise UsageError(
            f"{TOKEN_VARIABLE} cannot be used as a token",
            why=f"it needs {TOKEN_LENGTH} or more of the characters A-Z a-z 0-9 _ ~ -",
            hint="`openssl rand -hex 16` makes a good one; without the variable a new token is made",
        )
    return token


def host_allowed(header: str, own_name: str) -> bool:
    """Whether a Host header is `localhost`, an IP address, or the name that the server was started with."""
    host = header.rpartition("]")[0] + "]" if header.startswith("[") else header.partition(":")[0]
    host = host.lower().rstrip(".")
    if host in ("localhost", own_name.lower()):
        return bool(host)
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def cookie_name(port: int) -> str:
    """Cookies do not know ports: two dashboards on one machine need two names."""
    return f"ci-dispatch-{port}"


def set_cookie(port: int, token: str) -> str:
    return f"{cookie_name(port)}={token}; Path=/; HttpOnly; SameSite=Strict"


def has_token(headers: Mapping[str, str], port: int, token: str) -> bool:
    """Whether a request carries the token: in the cookie, or as `Authorization: Bearer` (for Prometheus)."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and same(given, token):
        return True
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(cookie_name(port))
    except CookieError:
        return False
    return cookie is not None and same(cookie.value, token)


def same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())

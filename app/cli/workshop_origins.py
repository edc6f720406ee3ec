"""Stand-ins for the workshop's origins: ASGI applications that answer as api.github.com and httpbingo.org do.

`egress-gateway workshop` serves each with plain uvicorn over TLS, with the certificate of its host.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

ZEN = "Keep it logically awesome."
"""One of the sentences of https://api.github.com/zen."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def canonical_name(name: bytes) -> str:
    """Return a header name as Go writes it: `x-caller-identity` is `X-Caller-Identity`, `x_caller` is `X_caller`."""
    if not _TOKEN.fullmatch(name):
        return name.decode("latin-1")
    return "-".join(part.capitalize() for part in name.decode("ascii").split("-"))


def received_headers(request: Request) -> dict[str, list[str]]:
    """Return every request header with all its values, sorted by name, as httpbingo does."""
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.raw:
        headers.setdefault(canonical_name(name), []).append(value.decode("latin-1"))
    return dict(sorted(headers.items()))


class RequireUserAgent:
    """Refuse requests without `User-Agent`, as api.github.com does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 or pass the request on."""
        if scope["type"] == "http" and not any(name == b"user-agent" and value for name, value in scope["headers"]):
            refusal = PlainTextResponse(
                "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.\n",
                status_code=403,
            )
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


def zen(_: Request) -> Response:
    """Answer one sentence."""
    return PlainTextResponse(ZEN)


def repository(request: Request) -> Response:
    """Answer some of what GitHub tells about a repository."""
    owner, name = request.path_params["owner"], request.path_params["name"]
    return JSONResponse(
        {
            "name": name,
            "full_name": f"{owner}/{name}",
            "private": False,
            "owner": {"login": owner, "type": "User"},
            "html_url": f"https://github.com/{owner}/{name}",
            "default_branch": "main",
        }
    )


def user(request: Request) -> Response:
    """Answer some of what GitHub tells about a user."""
    login = request.path_params["name"]
    return JSONResponse({"login": login, "type": "User", "html_url": f"https://github.com/{login}"})


def github_not_found(_: Request, __: Exception) -> Response:
    """Answer GitHub's 404."""
    return JSONResponse(
        {"message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404"}, status_code=404
    )


def echo_headers(request: Request) -> Response:
    """Answer the headers that arrived."""
    return JSONResponse({"headers": received_headers(request)})


def echo_request(request: Request) -> Response:
    """Answer the request that arrived, without its body."""
    arguments = {name: request.query_params.getlist(name) for name in request.query_params}
    return JSONResponse(
        {"args": arguments, "headers": received_headers(request), "method": request.method, "url": str(request.url)}
    )


def status(request: Request) -> Response:
    """Answer with the status that was asked for."""
    code = request.path_params["code"]
    if code not in range(200, 600):
        return PlainTextResponse("invalid status", status_code=400)
    return Response(status_code=code)


github = Starlette(
    routes=[
        Route("/zen", zen),
        Route("/repos/{owner}/{name}", repository),
        Route("/users/{name}", user),
    ],
    middleware=[Middleware(RequireUserAgent)],
    exception_handlers={404: github_not_found},
)

httpbingo = Starlette(
    routes=[
        Route("/headers", echo_headers),
        Route("/get", echo_request),
        Route("/status/{code:int}", status),
    ]
)

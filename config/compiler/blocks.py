"""Every block of a policy, where it is written and what compiles it: the one list that is extended for a new one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Final

from pydantic.alias_generators import to_snake

from config.compiler.api_keys import compile_api_key_authentication
from config.compiler.client_auth import compile_basic_authentication, compile_jwt_authentication
from config.compiler.credentials import compile_auth
from config.compiler.resilience import compile_health, compile_retry
from config.compiler.rewrites import (
    compile_cors,
    compile_csrf,
    compile_host_rewrite,
    compile_redirect,
    compile_url_rewrite,
)
from config.compiler.transformations import (
    compile_buffer,
    compile_delay,
    compile_direct_response,
    compile_header_filter,
    compile_transformation,
)
from config.compiler.upstreams import compile_http, compile_tcp, compile_tls, compile_tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.compiler.place import Place


@dataclass(frozen=True, slots=True)
class Block:
    """One field of a policy that a stronger level replaces as a whole."""

    field: str
    """Name of the compiled form: a field of `config.snapshot.Route`, or of a backend's `Settings`."""
    path: tuple[str, ...]
    """Where it is written, below `spec.traffic` or `spec.backend`."""
    compile: Callable[[Place, Any], Any]
    """Reports every fault and returns what fails closed; it never raises for what an operator wrote."""

    def written(self, section: Any) -> Any:
        """Return what the operator wrote in a section, or none."""
        return reduce(lambda found, name: getattr(found, to_snake(name), None), self.path, section)


TRAFFIC: Final[tuple[Block, ...]] = (
    Block("cors", ("cors",), compile_cors),
    Block("jwt", ("jwtAuthentication",), compile_jwt_authentication),
    Block("basic_auth", ("basicAuthentication",), compile_basic_authentication),
    Block("api_key", ("apiKeyAuthentication",), compile_api_key_authentication),
    Block("buffer", ("buffer",), compile_buffer),
    Block("transformation", ("transformation",), compile_transformation),
    Block("csrf", ("csrf",), compile_csrf),
    Block("request_headers", ("headerModifiers", "request"), compile_header_filter),
    Block("response_headers", ("headerModifiers", "response"), partial(compile_header_filter, of_response=True)),
    Block("host_rewrite", ("hostRewrite",), compile_host_rewrite),
    Block("rewrite", ("urlRewrite",), compile_url_rewrite),
    Block("redirect", ("requestRedirect",), compile_redirect),
    Block("delay", ("delay",), compile_delay),
    Block("direct_response", ("directResponse",), compile_direct_response),
    Block("timeout", ("timeouts", "request"), lambda _, seconds: seconds or None),
    Block("retry", ("retry",), compile_retry),
)
"""Of `spec.traffic`, but `authorization`, whose rules add up."""

BACKEND: Final[tuple[Block, ...]] = (
    Block("tls", ("tls",), compile_tls),
    Block("tcp", ("tcp",), compile_tcp),
    Block("http", ("http",), compile_http),
    Block("tunnel", ("tunnel",), compile_tunnel),
    Block("auth", ("auth",), compile_auth),
    Block("health", ("health",), compile_health),
)
"""Of `spec.backend`, and of `spec.policies` of a backend."""

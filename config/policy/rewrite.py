"""Another URL for a request: what the origin is asked for, or where the caller is sent. Source: GEP-726."""

from __future__ import annotations

from dataclasses import dataclass

from config.policy.normalisation import DEFAULT_PORT_OF, write_authority


class RewriteError(ValueError):
    """A path that cannot be rewritten: nothing may be sent then."""


@dataclass(frozen=True, slots=True)
class FullPath:
    """`ReplaceFullPath`: another path, whatever the request's is."""

    value: str | None
    """Canonical; none: it was refused at load, and no request is rewritten."""

    def apply(self, _path: str, _prefix: str | None) -> str:
        """Return the path that takes the place of the request's.

        Raises:
            RewriteError: the replacement was refused at load.

        """
        if self.value is None:
            raise RewriteError("the replacement was refused when the manifests were read")
        return self.value


@dataclass(frozen=True, slots=True)
class PrefixPath:
    """`ReplacePrefixMatch`: another beginning in the place of the `PathPrefix` that chose the route."""

    value: str | None
    """Canonical, or empty: the prefix is taken away. None: it was refused at load, and no request is rewritten."""

    def apply(self, path: str, prefix: str | None) -> str:
        """Return the path with another beginning. Only whole segments are replaced, and what follows stays.

        Args:
            path: canonical path of the request.
            prefix: the `PathPrefix` that chose the route; none if something else did.

        Raises:
            RewriteError: there is no prefix to replace, or the replacement was refused at load.

        """
        if self.value is None:
            raise RewriteError("the replacement was refused when the manifests were read")
        if prefix is None:
            raise RewriteError("no PathPrefix chose the route")
        prefix = prefix.removesuffix("/")
        rest = path.removeprefix(prefix)
        if not path.startswith(prefix) or rest[:1] not in {"", "/"}:
            raise RewriteError("the path no longer begins with the prefix that chose the route")
        if not rest:
            return self.value or "/"
        return self.value.removesuffix("/") + rest


PathModifier = FullPath | PrefixPath


@dataclass(frozen=True, slots=True)
class UrlRewrite:
    """`URLRewrite`: another `Host` or path for the origin. It changes neither the destination nor the verified name."""

    host: bytes | None = None
    path: PathModifier | None = None

    def rewritten(self, target: str, prefix: str | None) -> str:
        """Return the request target for the origin. The query stays byte for byte.

        Args:
            target: path and query.
            prefix: the `PathPrefix` that chose the route.

        Raises:
            RewriteError: the path cannot be rewritten.

        """
        return target if self.path is None else _modify(self.path, target, prefix)


@dataclass(frozen=True, slots=True)
class Redirect:
    """`RequestRedirect`: the caller is told to ask elsewhere. What is not set stays as the request has it."""

    status: int = 302
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: PathModifier | None = None

    def location(self, scheme: str, authority: tuple[str, int | None], target: str, prefix: str | None) -> str:
        """Return the URL for `Location`.

        A port that is not set is that of a scheme which is set, else the request's; one that the scheme implies is
        not written. Source: Gateway API `HTTPRequestRedirectFilter.port`.

        Args:
            scheme: the request's.
            authority: host, without brackets, and port of the request; no port is the default one.
            target: path and query.
            prefix: the `PathPrefix` that chose the route.

        Raises:
            RewriteError: the path cannot be rewritten.

        """
        host, port = authority
        if self.port is not None:
            port = self.port
        elif self.scheme is not None:
            port = None
        scheme = self.scheme or scheme
        host = self.host or host
        written = write_authority(host, port, DEFAULT_PORT_OF[scheme])
        return f"{scheme}://{written}{target if self.path is None else _modify(self.path, target, prefix)}"


def _modify(modifier: PathModifier, target: str, prefix: str | None) -> str:
    path, mark, query = target.partition("?")
    return f"{modifier.apply(path, prefix)}{mark}{query}"

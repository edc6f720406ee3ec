"""Other people's servers and proxies as processes on free loopback ports. A test skips where one is not installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.gateway import free_port, stop
from tests.conformance.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.conformance.harness.certificates import KeyPair

HYPERCORN_APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    path = scope["path"]
    status = int(path[8:]) if path.startswith("/status/") else 200
    body = b"x" * int(path[7:]) if path.startswith("/bytes/") else b"%s %d" % (scope["http_version"].encode(), size)
    headers = [(b"x-host", dict(scope["headers"]).get(b"host", b""))]
    if status == 200:
        headers.append((b"content-length", b"%d" % len(body)))
    else:
        body = b""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
"""


def program(name: str) -> str:
    """Return where a program is; the test skips if it is nowhere."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextmanager
def running(
    directory: Path, arguments: Sequence[str], port: int, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block; it is there once its port is open."""
    log = directory / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(arguments),
            cwd=directory,
            env=None if environment is None else {**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(f"{arguments[0]} to listen", lambda: _listens(process, port, log))
        yield process
    finally:
        stop(process)


def _listens(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    code = process.poll()
    assert code is None, f"it ended with {code}:\n{log.read_text(errors='replace')}"
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        return True
    return False


@contextmanager
def hypercorn(directory: Path, pair: KeyPair) -> Iterator[int]:
    """Run an HTTP/2 origin in Python: `/bytes/N`, `/status/N`, else the version and the body's length."""
    if importlib.util.find_spec("hypercorn") is None:
        pytest.skip("hypercorn is not installed")
    (directory / "origin_app.py").write_text(HYPERCORN_APP)
    port = free_port()
    arguments = [sys.executable, "-m", "hypercorn", "origin_app:app", "--bind", f"127.0.0.1:{port}"]
    arguments += ["--certfile", str(pair.certificate), "--keyfile", str(pair.key)]
    with running(directory, arguments, port):
        yield port


@contextmanager
def nghttpd(directory: Path, pair: KeyPair) -> Iterator[int]:
    """Run an HTTP/2 origin that serves the files of a directory."""
    port = free_port()
    arguments = [program("nghttpd"), "--address=127.0.0.1", f"--htdocs={directory}", "--max-concurrent-streams=4"]
    with running(directory, [*arguments, str(port), str(pair.key), str(pair.certificate)], port):
        yield port


@contextmanager
def nginx(directory: Path, server: str) -> Iterator[int]:
    """Run nginx with one server block, of which `PORT` is replaced."""
    port = free_port()
    configuration = directory / "nginx.conf"
    paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    configuration.write_text(
        "daemon off; worker_processes 1; pid nginx.pid; error_log stderr info; events {}\n"
        "http { access_log off; "
        + "".join(f"{name}_temp_path {directory}/{name}; " for name in paths)
        + f"server {{ {server.replace('PORT', f'127.0.0.1:{port}')} }} }}\n"
    )
    arguments = [program("nginx"), "-p", str(directory), "-c", str(configuration), "-e", "stderr"]
    with running(directory, arguments, port):
        yield port


@contextmanager
def tinyproxy(directory: Path, connect_port: int) -> Iterator[int]:
    """Run a proxy that takes CONNECT to one port."""
    port = free_port()
    configuration = directory / "tinyproxy.conf"
    configuration.write_text(
        f"Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nConnectPort {connect_port}\n"
    )
    with running(directory, [program("tinyproxy"), "-d", "-c", str(configuration)], port):
        yield port


@contextmanager
def squid(directory: Path, connect_port: int) -> Iterator[int]:
    """Run a proxy that takes CONNECT to one port."""
    port = free_port()
    configuration = directory / "squid.conf"
    configuration.write_text(
        f"http_port 127.0.0.1:{port}\nacl target port {connect_port}\nacl tunnels method CONNECT\n"
        "http_access allow tunnels target\n"
        "http_access deny all\ncache deny all\naccess_log none\ncache_log /dev/null\n"
        "pid_filename none\ncoredump_dir /\nshutdown_lifetime 0 seconds\n"
        "netdb_filename none\npinger_enable off\n"
    )
    with running(directory, [program("squid"), "-N", "-n", f"test{port}", "-f", str(configuration)], port):
        yield port

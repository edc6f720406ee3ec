"""mitmproxy from PyPI in reverse mode, with an addon that does the policy."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.peers.base import FORWARDED_BY, PATHS_BELOW, PATHS_EXACT, Launch, output
from tests.benchmarks.peers.environments import binaries, newer_python
from tests.benchmarks.pki import HOST

if TYPE_CHECKING:
    from tests.benchmarks.peers.base import Work

NEW, OLD = "mitmproxy>=12", "mitmproxy==11.0.2"
"""The newest that Python 3.11 can have is pinned: unpinned, pip falls back to 0.14."""
ADDON = Path(__file__).with_name("mitmproxy_addon.py")


def settings(work: Work) -> dict[str, object]:
    """Return what the addon reads."""
    return {
        "authority": str(work.pki.mesh_ca),
        "hosts": [HOST, *work.other_hosts()],
        "path_host": HOST,
        "principals": work.principals(),
        "paths_exact": PATHS_EXACT,
        "paths_below": PATHS_BELOW,
        "forwarded_by": FORWARDED_BY,
        "log": str(work.log),
    }


def launch(work: Work) -> Launch:
    python = newer_python()
    requirement = NEW if python else OLD
    mitmdump = binaries(work.options.environments, "mitmproxy", requirement, python or sys.executable) / "mitmdump"
    version = output(str(mitmdump), "--version").splitlines()[0].rpartition(" ")[2]
    addon, file = work.directory / ADDON.name, work.directory / "settings.json"
    shutil.copy(ADDON, addon)
    file.write_text(json.dumps(settings(work)))
    options = {
        "confdir": work.directory / "conf",
        "listen_host": "127.0.0.1",
        "listen_port": work.port,
        "certs": work.pki.gateway.both,
        "request_client_cert": "true",
        "ssl_verify_upstream_trusted_ca": work.pki.origins_ca,
        "keep_host_header": "true",
        "http2": "false",
        "connection_strategy": "lazy",
        "stream_large_bodies": "64k",
        "flow_detail": "0",
        "termlog_verbosity": "error",
    }
    command = [str(mitmdump), "--quiet", "--mode", f"reverse:https://127.0.0.1:{work.origin_port}", "-s", str(addon)]
    for name, value in options.items():
        command += ["--set", f"{name}={value}"]
    notes = ["asks for a client certificate but does not verify it: the addon does, once a connection"]
    if work.options.workers > 1:
        notes.append("has no workers: one process")
    return Launch(command, version, {"BENCH_SETTINGS": str(file)}, notes=tuple(notes))

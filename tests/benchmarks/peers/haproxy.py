"""HAProxy, if installed. It logs to its standard output, which is a file here."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from tests.benchmarks.peers.base import (
    FORWARDED_BY,
    PATHS_BELOW,
    PATHS_EXACT,
    Launch,
    PeerUnavailableError,
    output,
)
from tests.benchmarks.pki import HOST

if TYPE_CHECKING:
    from tests.benchmarks.peers.base import Work

NOTES = (
    "knows no URI SAN: the caller is the certificate's common name",
    "keeps the allowed callers in a tree (acl file), whatever their number",
    "all hosts share one backend",
)
LOG_FORMAT = (
    '{"timestamp":"%[date,ltime(%Y-%m-%dT%H:%M:%S)]","request_id":"%ID","client.address":"%ci:%cp",'
    '"source.identity":"%[var(txn.team)]","http.method":"%HM","http.host":"%[var(txn.host)]","http.path":"%HP",'
    '"http.version":"%HV","http.status":%ST,"bytes_in":%U,"bytes_out":%B,"duration_ms":%Ta,"upstream_ms":%Tr,'
    '"endpoint":"%si:%sp"}'
)
MAIN = """\
global
  maxconn 8192
  nbthread {workers}
  log stdout format raw local0 info
  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
  ssl-default-server-options ssl-min-ver TLSv1.2
defaults
  mode http
  log global
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend in
  bind 127.0.0.1:{port} ssl crt {both} ca-file {mesh_ca} verify required
  unique-id-format %[uuid()]
  log-format '{log_format}'
  http-request set-var(txn.team) ssl_c_s_dn(CN)
  http-request set-var(txn.host) req.hdr(host)
  acl caller var(txn.team) -m str -f {callers}
  acl host var(txn.host) -m str -f {hosts}
  acl listed path -m str {exact}
  acl listed path -m beg {below}
  http-request deny deny_status 403 unless caller host
  http-request deny deny_status 403 if {{ var(txn.host) -m str {host} }} !listed
  http-request set-header X-Caller-Identity %[var(txn.team)]/%[var(txn.team)]
  http-request set-header X-Forwarded-By {forwarded_by}
  http-request del-header X-Internal-Debug
  default_backend origin
backend origin
  server origin 127.0.0.1:{origin_port} ssl verify required ca-file {origins_ca} sni var(txn.host) {verify}
"""


def configuration(work: Work) -> str:
    return MAIN.format(
        workers=work.options.workers,
        port=work.port,
        both=work.pki.gateway.both,
        mesh_ca=work.pki.mesh_ca,
        origins_ca=work.pki.origins_ca,
        log_format=LOG_FORMAT,
        callers=work.directory / "callers",
        hosts=work.directory / "hosts",
        exact=" ".join(PATHS_EXACT),
        below=" ".join(PATHS_BELOW),
        host=HOST,
        forwarded_by=FORWARDED_BY,
        origin_port=work.origin_port,
        verify=f"verifyhost {HOST} pool-max-conn 128",
    )


def launch(work: Work) -> Launch:
    haproxy = shutil.which("haproxy")
    if haproxy is None:
        raise PeerUnavailableError("not on PATH")
    version = re.search(r"version (\S+)", output(haproxy, "-v"))
    file = work.directory / "haproxy.cfg"
    file.write_text(configuration(work))
    (work.directory / "callers").write_text("".join(f"{team}\n" for team in work.teams()))
    (work.directory / "hosts").write_text("".join(f"{host}\n" for host in [HOST, *work.other_hosts()]))
    return Launch([haproxy, "-db", "-f", str(file)], version=version[1] if version else "unknown", notes=NOTES)

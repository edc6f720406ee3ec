"""nginx, if installed."""

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
    "keeps the allowed callers in a hash table (map), whatever their number",
)
LOG_FORMAT = (
    '{"timestamp":"$time_iso8601","request_id":"$request_id","client.address":"$remote_addr:$remote_port",'
    '"source.identity":"$caller","http.method":"$request_method","http.host":"$host","http.path":"$uri",'
    '"http.version":"$server_protocol","http.status":$status,"bytes_in":$request_length,"bytes_out":$bytes_sent,'
    '"duration_s":$request_time,"upstream_s":"$upstream_response_time","endpoint":"$upstream_addr"}'
)
MAIN = """\
daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  log_format json escape=json '{log_format}';
  access_log {log} json buffer=64k flush=1s;
  map_hash_max_size 1048576;
  map_hash_bucket_size 128;
  map $ssl_client_s_dn $caller {{
{callers}
  }}
  server_names_hash_max_size 1048576;
  server_names_hash_bucket_size 128;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  upstream origin {{
    server 127.0.0.1:{origin_port};
    keepalive 128;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096 default_server;
    server_name {hosts};
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_client_certificate {mesh_ca};
    ssl_verify_client on;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets off;
    client_max_body_size 0;
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    proxy_ssl_server_name on;
    proxy_ssl_name $host;
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate {origins_ca};
    proxy_ssl_protocols TLSv1.2 TLSv1.3;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_set_header X-Caller-Identity $caller;
    proxy_set_header X-Forwarded-By {forwarded_by};
    proxy_set_header X-Internal-Debug "";
{locations}
    location / {{ return 403; }}
  }}
}}
"""
LOCATION = '    location {match} {{ if ($caller = "") {{ return 403; }} proxy_pass https://origin; }}'


def configuration(work: Work) -> str:
    pki = work.pki
    matches = [f"= {path}" for path in PATHS_EXACT] + list(PATHS_BELOW)
    return MAIN.format(
        workers=work.options.workers,
        directory=work.directory,
        log_format=LOG_FORMAT,
        log=work.log,
        callers="\n".join(f'    "CN={team}" "{team}/{team}";' for team in work.teams()),
        origin_port=work.origin_port,
        port=work.port,
        hosts=" ".join([HOST, *work.other_hosts()]),
        certificate=pki.gateway.certificate,
        key=pki.gateway.key,
        mesh_ca=pki.mesh_ca,
        origins_ca=pki.origins_ca,
        forwarded_by=FORWARDED_BY,
        locations="\n".join(LOCATION.format(match=match) for match in matches),
    )


def launch(work: Work) -> Launch:
    nginx = shutil.which("nginx")
    if nginx is None:
        raise PeerUnavailableError("not on PATH")
    version = re.search(r"nginx/(\S+)", output(nginx, "-v"))
    file = work.directory / "nginx.conf"
    file.write_text(configuration(work))
    return Launch(
        [nginx, "-p", str(work.directory), "-e", "stderr", "-c", str(file)],
        version=version[1] if version else "unknown",
        notes=NOTES,
    )

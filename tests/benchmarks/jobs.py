"""The jobs that the load generator is given."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.load import GRACE_SECONDS, Job, Result
from tests.benchmarks.options import ROOT
from tests.benchmarks.origin import FORWARDED_BY, IDENTITY, SENT
from tests.benchmarks.pki import HOST
from tests.benchmarks.processes import clean_environment, pinned

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.options import Options
    from tests.benchmarks.pki import Pki

STREAM_BYTES = 32 * 1024**2
"""Size of one body where MB/s are measured."""
ANSWER_BYTES = 2
"""Size of the origin's answer to an upload."""
SPOOFED = {"X-Caller-Identity": "evil", "X-Internal-Debug": "1"}
"""What a caller sends that must not come through."""
USUAL = {"User-Agent": "bench/1.0", "Accept": "*/*"}


@dataclass(frozen=True, slots=True)
class Target:
    """A proxy's port, or the origin's own: then the headers come from here."""

    port: int
    pids: tuple[int, ...] = ()
    direct: bool = False


@dataclass(frozen=True, slots=True)
class Jobs:
    """Makes the jobs of one run and has them done."""

    options: Options
    pki: Pki
    cores: frozenset[int] | None

    def requests(self, target: Target) -> Result:
        """Send requests as fast as answers come."""
        return self._do(target, mode="closed", seconds=self.options.seconds)

    def latency(self, target: Target) -> Result:
        """Send requests at the fixed rate."""
        return self._do(target, mode="open", seconds=self.options.seconds * 1.5)

    def stream(self, target: Target, *, upload: bool) -> Result:
        """Send one big body after another on one connection."""
        return self._do(target, mode="closed", seconds=self.options.seconds / 2, stream=True, upload=upload)

    def idle(self, target: Target, connections: int) -> Result:
        """Open connections that do nothing after one request."""
        return self._do(target, mode="idle", seconds=connections / 50, connections=connections)

    def warm(self, target: Target) -> Result:
        """Send some requests, so that what is made once is made."""
        return self._do(target, mode="closed", seconds=0.3)

    def _do(  # noqa: PLR0913  what jobs differ in
        self,
        target: Target,
        *,
        mode: str,
        seconds: float,
        connections: int | None = None,
        stream: bool = False,
        upload: bool | None = None,
    ) -> Result:
        options, pki = self.options, self.pki
        upload = options.upload if upload is None else upload
        size = STREAM_BYTES if stream else options.body_bytes
        if mode == "idle":
            upload, size = False, options.body_bytes
        job = Job(
            mode=mode,  # type: ignore[arg-type]
            port=target.port,
            server_name=HOST,
            ca=str(pki.origins_ca if target.direct else pki.mesh_ca),
            certificate=str(pki.team_a.certificate),
            key=str(pki.team_a.key),
            head=request_head(size, upload=upload, direct=target.direct),
            upload_bytes=size if upload else 0,
            expected_bytes=ANSWER_BYTES if upload else size,
            connections=connections or (1 if stream else options.connections),
            pids=list(target.pids),
            warm_seconds=0.2 if stream else 0.4,
            seconds=seconds,
            rate=options.rate,
        )
        return run(job, pki.tls_config, self.cores)


def request_head(size: int, *, upload: bool, direct: bool) -> str:
    """Return a request's head."""
    fields = {"Host": HOST, **USUAL}
    if direct:
        fields |= {"X-Caller-Identity": IDENTITY.decode(), "X-Forwarded-By": FORWARDED_BY.decode()}
    else:
        fields |= SPOOFED
    if upload:
        fields |= {"Content-Length": str(size), SENT.decode(): str(size)}
    line = "POST /repos/upload" if upload else f"GET /repos/bytes/{size}"
    return "\r\n".join([f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""])


def run(job: Job, tls_config: Path, cores: frozenset[int] | None) -> Result:
    """Have a job done by a load generator of its own."""
    with pinned(cores):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.load"],
            cwd=ROOT,
            env={**clean_environment(), "OPENSSL_CONF": str(tls_config)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        limit = job.warm_seconds + job.seconds + 2 * GRACE_SECONDS
        output, errors = process.communicate(json.dumps(asdict(job)), timeout=limit)
    except subprocess.TimeoutExpired:
        return Result(error_count=1, errors=["the load generator is stuck"])
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        return Result(error_count=1, errors=[f"the load generator failed: {errors.strip()[-500:]}"])
    return Result(**json.loads(output))

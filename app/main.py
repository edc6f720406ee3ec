"""The ASGI entry point: `uvicorn app.main:app --ssl-cert-reqs 2`."""

import gc

# Before the other imports, which make 200,000 objects: looking for cycles among them took a tenth of the start. What
# serves is left as it was by `app.lifespan`, which sets the same.
gc.set_threshold(50_000, 10, 10)

from app.factory import create_app  # noqa: E402
from app.listeners.uvicorn_hook import install  # noqa: E402

install()
app = create_app()

"""The ASGI entry point: `uvicorn app.main:app --ssl-cert-reqs 2`."""

from app.factory import create_app
from app.listeners.uvicorn_hook import install

install()
app = create_app()

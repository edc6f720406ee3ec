"""The running gateway: sockets, clocks, tasks and clients, composed in `app.factory`."""

__version__ = "0.1.0"

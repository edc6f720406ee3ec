"""Where callers come from: each listener publishes a `Connection` for the layers."""

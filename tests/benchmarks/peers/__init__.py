"""The proxies that are compared, and how each is told to do the same work."""

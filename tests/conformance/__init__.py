"""The gateway as its users meet it: a real uvicorn process, real mTLS callers, real TLS origins, all on loopback."""

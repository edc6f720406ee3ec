"""Connections to origins: dialled to a checked address, over TLS that is verified before anything is sent."""

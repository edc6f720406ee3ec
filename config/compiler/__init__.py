"""Resources to a snapshot: references resolved, CEL compiled, every fault collected with its place."""

from config.compiler.snapshot import compile_snapshot

__all__ = ["compile_snapshot"]

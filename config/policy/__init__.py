"""Compiled policies: pure, frozen, without I/O. They decide; the layers ask and act."""

"""Typed models of the manifests: what the operator wrote, before any reference is resolved."""

"""Micro-benchmarks: they print figures and assert nothing about time."""

"""Settings that hold for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Machines are slow at times; nothing here asserts on time.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

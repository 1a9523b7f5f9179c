"""What a health check can come to.

Envoy: `Upstream::HealthTransition`, `envoy.data.core.v3.HealthCheckFailureType`.
"""

from __future__ import annotations

from enum import Enum


class FailureType(Enum):
    """`envoy.data.core.v3.HealthCheckFailureType`."""

    ACTIVE = 0
    """A bad answer."""
    PASSIVE = 1
    """An answer to a request said so."""
    NETWORK = 2
    NETWORK_TIMEOUT = 3


class HealthTransition(Enum):
    UNCHANGED = 0
    CHANGED = 1
    CHANGE_PENDING = 2
    """It will change if the next checks end like this one."""

"""What every connection pool answers.

Envoy: `ConnectionPool::PoolFailureReason`, `ConnectionPool::ConnPoolImplBase`.
"""

from __future__ import annotations

from enum import Enum


class PoolFailureReason(Enum):
    """Why there is no connection. Values are Envoy's words in `%RESPONSE_CODE_DETAILS%`."""

    OVERFLOW = "overflow"
    """A circuit breaker is open."""
    LOCAL_CONNECTION_FAILURE = "local connection failure"
    REMOTE_CONNECTION_FAILURE = "remote connection failure"
    TIMEOUT = "connection timeout"

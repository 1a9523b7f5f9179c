from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def proto() -> Callable[[str, dict[str, Any]], Any]:
    """Makes a message of Envoy's API of its full name and what JSON would say."""
    from minienvoy.config.api import message_class
    from minienvoy.config.proto_fill import fill

    def make(name: str, fields: dict[str, Any]) -> Any:
        message = message_class(name)()
        assert not fill(message, fields)
        return message

    return make

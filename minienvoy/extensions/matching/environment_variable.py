"""`envoy.matching.common_inputs.environment_variable`: a variable of the process, read when the configuration is.

Envoy: `source/extensions/matching/common_inputs/environment_variable`.
"""

from __future__ import annotations

import os
from typing import Any

from ...config.fields import honours
from ...matchers.match_tree import COMMON_INPUTS, MatchInput

CONFIG_TYPE = "envoy.extensions.matching.common_inputs.environment_variable.v3.Config"

honours(CONFIG_TYPE, "name")


@COMMON_INPUTS.register("envoy.matching.common_inputs.environment_variable", CONFIG_TYPE)
def create_environment_variable_input(config: Any, server: Any) -> MatchInput:
    value = os.environb.get(config.name.encode())
    return lambda data: value

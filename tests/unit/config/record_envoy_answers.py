"""Asks a real Envoy about every case of `data/envoy_answers.json` and writes its answers there.

    python tests/unit/config/record_envoy_answers.py ENVOY

A new case is an object with `name`, `extension` and `text`; this adds `accepted` and `error`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ANSWERS = Path(__file__).parent / "data" / "envoy_answers.json"


def ask(envoy: str, path: Path) -> tuple[bool, str]:
    """Whether Envoy takes the file, and its error if it does not."""
    command = [envoy, "--mode", "validate", "--use-dynamic-base-id", "--concurrency", "1", "-l", "critical", "-c"]
    done = subprocess.run([*command, str(path)], capture_output=True, timeout=60, check=False)
    output = done.stderr.decode(errors="replace")
    match = re.search(r"error initializing configuration '[^']*': (.*)", output, re.DOTALL)
    return done.returncode == 0, match[1].strip() if match else ""


def main() -> None:
    cases = json.loads(ANSWERS.read_text())
    with tempfile.TemporaryDirectory() as directory:
        for case in cases:
            path = Path(directory, f"case.{case['extension']}")
            path.write_text(case["text"])
            case["accepted"], error = ask(sys.argv[1], path)
            # Protobuf varies the blanks of its texts from run to run; the JSON that follows has no fixed order.
            case["error"] = " ".join(error.replace(str(path), path.name).split())[:6000]
    ANSWERS.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()

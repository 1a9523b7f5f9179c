"""What a simulation tells: text for people, JSON for programs.

No Envoy counterpart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from .simulation import Phase, Simulation

_BAR = 30
"""Characters for 100 percent."""


def text_report(simulation: Simulation, phases: Sequence[Phase]) -> str:
    settings, cluster = simulation.settings, simulation.cluster
    lines = [
        f"cluster {cluster.name}: {simulation.policy}, {settings.requests} requests at {settings.rate:g}/s of "
        f"{settings.service_time * 1000:g} ms each, seed {settings.seed}"
    ]
    for number, phase in enumerate(phases):
        lines += ["", f"{phase.at:g} s  {phase.what}"]
        if phase.moved is not None and phase.moved_needlessly is not None:
            lines.append(
                f"  moved: {phase.moved:.1%} of the keys; {phase.moved_needlessly:.1%} had a healthy host and lost it"
            )
        before = phases[number - 1] if number else None
        lines += [f"  {row}" for row in _rows(phase, before)]
        if phase.why_nobody:
            lines.append(f"  no host: {phase.why_nobody}")
        if not phase.requests:
            end = settings.requests / settings.rate
            lines.append(
                f"  the last request is sent before {end:g} s; more --requests, or a lower --rate, take longer"
            )
        if phase.failed:
            lines.append(f"  failed: {phase.failed} requests went to a host that was down")
    return "\n".join(lines) + "\n"


def _rows(phase: Phase, before: Phase | None) -> list[str]:
    total = phase.requests
    if not total:
        return ["no requests"]
    names = sorted({*phase.counts, *(before.counts if before is not None else ())})
    width = max(len(name or "no host") for name in names)
    rows = []
    for name in names:
        count = phase.counts.get(name, 0)
        share = count / total
        row = f"{name or 'no host':<{width}}  {count:>7}  {share:>6.1%}"
        if before is not None and before.requests:
            change = share - before.counts.get(name, 0) / before.requests
            row += f"  {change:>+7.1%}" if abs(change) >= 0.0005 else " " * 9
        rows.append(f"{row}  {'#' * round(share * _BAR)}".rstrip())
    return rows


def json_report(simulation: Simulation, phases: Sequence[Phase]) -> str:
    settings, cluster = simulation.settings, simulation.cluster
    shown = {
        "cluster": cluster.name,
        "policy": simulation.policy,
        "requests": settings.requests,
        "rate": settings.rate,
        "service_time": settings.service_time,
        "seed": settings.seed,
        "phases": [_phase(phase) for phase in phases],
    }
    return json.dumps(shown, indent=1) + "\n"


def _phase(phase: Phase) -> dict[str, object]:
    total = phase.requests
    shown: dict[str, object] = {
        "at": phase.at,
        "event": phase.what,
        "requests": total,
        "failed": phase.failed,
        "no_host": phase.counts.get("", 0),
        "why_no_host": phase.why_nobody,
        "hosts": {
            name: {"requests": count, "share": round(count / total, 6)}
            for name, count in sorted(phase.counts.items())
            if name
        },
    }
    if phase.moved is not None and phase.moved_needlessly is not None:
        shown["moved"] = round(phase.moved, 6)
        shown["moved_needlessly"] = round(phase.moved_needlessly, 6)
    return shown

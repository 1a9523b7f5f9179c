"""Runs scenarios against one proxy and collects, case by case, what is compared."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import (
    access_log_stream,
    admin,
    control_plane,
    datadog,
    fork_server,
    golden,
    http2,
    messages,
    metrics,
    scenario,
    segments,
    spans,
    spread,
    tls,
    tokens,
)
from .backends import Backend
from .client import WATCH, Client
from .dns import DnsServer
from .normalise import Normaliser, machine_address
from .proxies import START_TIMEOUT, DidNotStart, ProxyInProcess, ProxyProcess, RunningProxy, validate, validation
from .scenario import Case

Answer = dict[str, Any]
AT_ONCE = 24
"""Clients that run at the same time: enough to hide the waiting, few enough to keep the timings honest."""
LATE = 5.0
"""Seconds after which what a process was expected to write, count or close is missing."""


async def run(kind: str, cases: list[Case], expected: dict[str, Answer] | None = None) -> dict[str, Answer]:
    """The answers of a proxy to the cases of one scenario, by case name.

    Args:
        kind: "envoy", "minienvoy" (a process) or "here" (minienvoy in this process, in virtual time).
        cases: of one scenario.
        expected: Envoy's answers, if durations are not to be judged: what is expected is waited for.
    """
    answers: dict[str, Answer] = {}
    validations = [case for case in cases if case.validates]
    one_conversation = any(case.sequel for case in cases)
    alone = [case for case in cases if case not in validations and case.own_process and not one_conversation]
    shared = [case for case in cases if case not in validations and case not in alone]
    directory = Path(tempfile.mkdtemp(prefix="conformance-"))
    try:
        limit = asyncio.Semaphore(2)

        async def check(case: Case) -> None:
            async with limit:
                answers[case.name] = await _validate(kind, case, directory)

        async def solo(case: Case) -> None:
            async with limit:
                answers.update(await _run_group(kind, [case], directory / f"own-{case.id}", expected))

        if shared:
            try:
                answers.update(await _run_group(kind, shared, directory / "shared", expected))
            except DidNotStart as problem:
                # A configuration that is refused must not hide what the others would have done.
                refused: dict[str, str] = {}
                if problem.refused and not one_conversation:
                    suspects = [case for case in shared if case.name in _blamed(shared, str(problem))] or shared
                    said = await asyncio.gather(*(_refusal(kind, case, directory, limit) for case in suspects))
                    refused = {c.name: words for c, words in zip(suspects, said, strict=True) if words is not None}
                answers.update({name: _not_started(words) for name, words in refused.items()})
                accepted = [case for case in shared if case.name not in refused]
                try:
                    if not refused:
                        raise problem
                    if accepted:
                        answers.update(await _run_group(kind, accepted, directory / "accepted", expected))
                except DidNotStart as again:
                    answers.update({case.name: _not_started(str(again)) for case in accepted})
        await asyncio.gather(*map(check, validations))
        await asyncio.gather(*map(solo, alone))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return {case.name: answers[case.name] for case in cases}


async def _run_group(
    kind: str, cases: list[Case], directory: Path, expected: dict[str, Answer] | None
) -> dict[str, Answer]:
    """Cases that share one process; a single case that does not start is an answer, several are a `DidNotStart`."""
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a test may touch a disk
    backends: dict[str, dict[str, Backend]] = {}
    resolvers: dict[str, DnsServer] = {}
    arguments = cases[0].spec.get("args")
    proxy = ProxyInProcess(directory, arguments) if kind == "here" else ProxyProcess(kind, directory, arguments)
    try:
        listeners: list[Any] = []
        clusters: list[Any] = []
        for case in cases:
            if case.sequel:
                continue
            backends[case.id] = {n: Backend(n, spec) for n, spec in scenario.backends_of(case).items()}
            ports: dict[str, int] = {}
            for name, backend in backends[case.id].items():
                await backend.start()
                ports[name] = backend.port
            if "dns" in case.spec:
                resolvers[case.id] = DnsServer(case.spec["dns"])
                ports["dns"] = await resolvers[case.id].start()
            put_files(case, directory, ports)
            for backend in backends[case.id].values():
                backend.control.words = {**ports, "id": case.id, "dir": directory, "certs": tls.CERTIFICATES}
            more_listeners, more_clusters = scenario.resources(case, ports, directory)
            listeners += more_listeners
            clusters += more_clusters
        try:
            await proxy.start(scenario.bootstrap(listeners, clusters, scenario.own_bootstrap(cases[0], directory)))
        except DidNotStart as problem:
            if len(cases) > 1:
                raise
            return {cases[0].name: _not_started(str(problem))}
        return await _converse(proxy, cases, backends, resolvers, expected)
    finally:
        await proxy.stop()
        for group in backends.values():
            for backend in group.values():
                await backend.stop()
        for resolver in resolvers.values():
            resolver.stop()


async def _converse(
    proxy: RunningProxy,
    cases: list[Case],
    backends: dict[str, dict[str, Backend]],
    resolvers: dict[str, DnsServer],
    expected: dict[str, Answer] | None,
) -> dict[str, Answer]:
    addresses = await proxy.listener_addresses()
    with_stats = any(case.compares_stats for case in cases)
    before = await proxy.stats() if with_stats else {}
    talks: dict[str, dict[str, list[Any]]] = {}
    in_sequence = any(case.sequel for case in cases)
    limit = asyncio.Semaphore(1 if in_sequence else AT_ONCE)

    async def talk(case: Case) -> None:
        async with limit:
            ends = None if expected is None else _ends(expected.get(case.name, {}).get("client"))
            talks[case.name] = await _client(proxy, case, addresses, ends, backends[case.id])
            if in_sequence and "ask" not in case.spec:
                await proxy.settle()  # what the client has just closed is counted before the next case looks

    await asyncio.gather(*map(talk, cases))
    await asyncio.sleep(0.4 if expected is None else 0.1)  # logs are flushed every 50 ms; disconnections are noticed
    clock = asyncio.get_running_loop().time
    give_up = clock() + (0.0 if expected is None else LATE)
    while True:
        after = await proxy.stats() if with_stats else {}
        changed = {
            name: after[name] - before.get(name, 0) for name in sorted(after) if after[name] != before.get(name, 0)
        }
        seen = _Seen(proxy, addresses, backends, resolvers, talks, changed)
        answers = {case.name: seen.answer(case) for case in cases}
        missing = [name for name, answer in answers.items() if golden.late(expected and expected.get(name), answer)]
        if not missing or clock() >= give_up:
            return answers
        await asyncio.sleep(0.1)


def _ends(transcripts: Any) -> dict[str, str]:
    """How each connection ends, by the client's part of an answer."""
    named = transcripts if isinstance(transcripts, dict) else {"client": transcripts or []}
    return {name: shown[-1] for name, shown in named.items() if shown and isinstance(shown[-1], str)}


@dataclass(slots=True)
class _Seen:
    """Everything that was seen of the cases that share one proxy."""

    proxy: RunningProxy
    addresses: dict[str, list[tuple[str, int]]]
    backends: dict[str, dict[str, Backend]]
    resolvers: dict[str, DnsServer]
    talks: dict[str, dict[str, list[Any]]]
    changed: dict[str, int]

    def answer(self, case: Case) -> Answer:
        talks, backends = self.talks[case.name], self.backends[case.id]
        answer: Answer = {"client": talks["client"] if set(talks) == {"client"} else talks}
        if "spread" in case.spec:
            counts = {name: backend.requests for name, backend in backends.items()}
            answer["spread"] = {**spread.settings(case.spec["spread"]), "counts": counts}
            return answer
        upstream = {
            name: shown
            for name, backend in backends.items()
            if (backend.wires or backend.datagrams or backend.datagram_server) and (shown := _upstream(case, backend))
        }
        if upstream and not case.sequel and case.spec.get("compare_upstream", True):
            answer["upstream"] = upstream
        if case.id in self.resolvers and case.spec.get("compare_queries", True):
            answer["dns"] = sorted(set(self.resolvers[case.id].questions))
        log = case.files.get("log")
        if log is not None and log.exists() and (entries := log.read_text("latin-1").splitlines()):
            answer["log"] = sorted(entries) if case.spec.get("unordered") else entries
        if case.compares_stats:
            answer["stats"] = _changes(case, self.changed)
        if case.spec.get("datadog"):
            answer = datadog.Traces().tree(answer)
        if case.spec.get("segments"):
            answer = segments.Segments().tree(answer)
        if case.spec.get("spans"):
            answer = spans.Spans().tree(answer)
        answer = self._normaliser(case).tree(answer)
        return _without_resets(answer) if case.spec.get("reset_is_closed") else answer

    def _normaliser(self, case: Case) -> Normaliser:
        ports = {backend.port: name for name, backend in self.backends[case.id].items()}
        if case.id in self.resolvers:
            ports[self.resolvers[case.id].port] = "dns"
        ports[self.proxy.admin_address[1]] = "admin"
        for name, bound in self.addresses.items():
            if name.startswith(case.id + "_"):
                ports.update({port: f"listener {name.removeprefix(case.id + '_')}" for _, port in bound})
        signed = {tokens.sign(spec): name for name, spec in case.spec.get("tokens", {}).items()}
        return Normaliser(case.id, ports, str(self.proxy.directory), machine_address(), signed)


def put_files(case: Case, directory: Path, ports: dict[str, int]) -> None:
    """What a case wants to be in its directory; placeholders are filled, `{id}` with the prefix of its names."""
    words = {**ports, "id": case.id, "dir": directory, "certs": tls.CERTIFICATES}
    for name, content in case.spec.get("files", {}).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            path.symlink_to(content["link"])
        else:
            path.write_text(re.sub(r"\{(\w+)\}", lambda m: str(words.get(m[1], m[0])), content))


def _without_resets(tree: Any) -> Any:
    """For the few cases where Envoy's own end is a race: unread bytes in its socket turn the FIN into an RST."""
    if isinstance(tree, dict):
        return {key: _without_resets(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_resets(value) for value in tree]
    return re.sub(r"^reset(?= |$)", "closed", tree) if isinstance(tree, str) else tree


async def _client(
    proxy: RunningProxy,
    case: Case,
    addresses: dict[str, list[tuple[str, int]]],
    ends: dict[str, str] | None,
    backends: dict[str, Backend],
) -> dict[str, list[Any]]:
    async def find_ports() -> dict[str, tuple[str, int]]:
        addresses.update(await proxy.listener_addresses())
        return _ports(proxy, case, addresses)

    watch = case.spec.get("watch", WATCH)
    show = admin.reader(case.spec["body"]) if "body" in case.spec else messages.readable
    client = Client(
        _ports(proxy, case, addresses),
        proxy.admin,
        watch,
        bool(case.spec.get("raw")),
        show,
        ends,
        f"{case.id}_",
        proxy.directory,
        case.spec.get("h2"),
        {name: backend.control for name, backend in backends.items()},
        find_ports,
    )
    try:
        if "table" in case.spec:
            shown = await client.run_table(case.filled(case.spec["table"]), tuple(case.spec.get("shows", ())))
            if case.spec.get("unordered"):
                shown["client"].sort()
            return _with_seen(client, {**await client.run(case.spec.get("after", [])), **shown})
        if "spread" in case.spec:
            return await client.run_spread(case.spread_requests(), case.spec["spread"].get("connections", 1))
        if "parallel" in case.spec:
            return _with_seen(client, await client.run_parallel(case.spec["parallel"]))
        return _with_seen(client, await client.run(case.steps()))
    except ConnectionRefusedError:
        return {"client": ["connection refused"]}
    except (OSError, TimeoutError, KeyError) as problem:
        return {"client": [f"<the client failed: {type(problem).__name__}: {problem}>"]}


def _ports(proxy: RunningProxy, case: Case, addresses: dict[str, list[tuple[str, int]]]) -> dict[str, tuple[str, int]]:
    ports = {"admin": proxy.admin_address}
    for name, bound in addresses.items():
        if name.startswith(case.id + "_"):
            short = name.removeprefix(case.id + "_")
            ports[short] = bound[0]
            ports.update({f"{short}.{number}": address for number, address in enumerate(bound)})
    return ports


def _with_seen(client: Client, talks: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if not client.seen:
        return talks
    return {**talks, "seen": [look.splitlines() for look in client.seen]}


def _blamed(cases: list[Case], said: str) -> set[str]:
    """The cases whose resources a refusal names by their index, `static_resources.listeners[3]`."""
    owners: dict[str, list[str]] = {"listeners": [], "clusters": []}
    for case in cases:
        ports = dict.fromkeys([*scenario.backends_of(case), "dns"], 1)
        for kind, resources in zip(owners, scenario.resources(case, ports, Path()), strict=True):
            owners[kind] += [case.name] * len(resources)
    named = re.findall(r"static_resources\.(listeners|clusters)\[(\d+)\]", said)
    return {owners[kind][int(index)] for kind, index in named if int(index) < len(owners[kind])}


async def _refusal(kind: str, case: Case, directory: Path, limit: asyncio.Semaphore) -> str | None:
    """What the proxy says when it is to validate the configuration of one case alone; None if it accepts it."""
    async with limit:
        where = directory / f"check-{case.id}"
        where.mkdir(parents=True, exist_ok=True)
        names = [*scenario.backends_of(case), "dns"]
        put_files(case, where, dict.fromkeys(names, 1))
        resources = scenario.resources(case, dict.fromkeys(names, 1), where)
        path = where / "envoy.json"
        path.write_text(json.dumps(scenario.bootstrap(*resources, scenario.own_bootstrap(case, where))))
        code, said = await validate(kind, path, [])
        return None if code == 0 else said


def _not_started(problem: str) -> Answer:
    said = problem.splitlines()
    return {"did not start": [line[:700] for line in said if "[critical]" in line] or said[-12:]}


def _calls(session: http2.Session) -> Iterator[tuple[list[Any], list[bytes]]]:
    """The head and the messages of each call of gRPC."""
    heads = {frame.stream: frame.fields for frame in session.reader.frames if frame.kind == http2.HEADERS}
    for stream, head in heads.items():
        sent = [each.payload for each in session.reader.frames if (each.kind, each.stream) == (http2.DATA, stream)]
        yield head, list(metrics.grpc_messages([b"".join(sent)]))


def _upstream(case: Case, backend: Backend) -> list[Any]:
    if backend.datagram_server is not None:
        return backend.datagram_server.shown()
    told = backend.spec.get("metrics")
    if backend.datagrams:
        return metrics.of_statsd(backend.datagrams)
    if told == "statsd":
        return metrics.of_statsd([line for wire in backend.wires for line in bytes(wire.received).split(b"\n")])
    if told == "als":
        return access_log_stream.of_streams(each for session in backend.sessions.values() for each in _calls(session))
    if told == "datadog":
        sent = [each for wire in backend.wires for each in messages.split(bytes(wire.received), False)[0]]
        return [[*messages.lines(each.head), {"traces": datadog.unpack(each.body)[0]}] for each in sent]
    if told == "segments":
        return segments.of_streams(each for session in backend.sessions.values() for each in _calls(session))
    if told in ("service", "logs") and backend.sessions:
        frames = [frame for session in backend.sessions.values() for frame in session.reader.frames]
        body = b"".join(frame.payload for frame in frames if frame.kind == http2.DATA)
        if told == "service":
            return metrics.of_metrics_service(body)
        fields = next((frame.fields for frame in frames if frame.kind == http2.HEADERS), [])
        return metrics.of_logs([f"{name}: {value}" for name, value in fields], [body], True)
    if told == "logs":
        sent = [each for wire in backend.wires for each in messages.split(bytes(wire.received), False)[0]]
        return metrics.of_logs(messages.lines(sent[0].head), [each.body for each in sent], False)
    if backend.planes:
        return [call for plane in backend.planes.values() for call in plane.shown()]
    if backend.spec.get("discovery"):
        sent = [each for wire in backend.wires for each in messages.split(bytes(wire.received), False)[0]]
        # The node is as long as the list of extensions.
        heads = [[line for line in messages.lines(each.head) if "content-length" not in line] for each in sent]
        return [[*head, control_plane.json_request_line(each.body)] for head, each in zip(heads, sent, strict=True)]
    shown = []
    for wire in backend.wires:
        if (session := backend.sessions.get(wire)) is not None:
            end = "ended by the backend" if wire.we_ended else wire.ended or "kept open"
            shown.append([*(lines for _, lines in session.shown()), end])
            continue
        data = bytes(wire.received)
        if case.spec.get("raw") or "script" in backend.spec or "scripts" in backend.spec:
            found, rest = messages.split(data, False)
            if case.spec.get("raw") or not found:
                found, rest = [], data
        else:
            found, rest = messages.split(data, False)
        talk: list[Any] = [messages.readable(message) for message in found]
        if backend.spec.get("any_order"):
            heads = [lines.index("") if "" in lines else len(lines) for lines in talk]
            talk = [[shown[0], *sorted(shown[1:end]), *shown[end:]] for shown, end in zip(talk, heads, strict=True)]
        if wire.agreed:
            talk.insert(0, wire.agreed)
        if rest.startswith(b"\x16\x03"):
            talk.append("<a ClientHello>")
        elif rest:
            talk.append(messages.lines(rest))
        talk.append("ended by the backend" if wire.we_ended else wire.ended or "kept open")
        shown.append(talk)
    return sorted(shown, key=str) if case.spec.get("unordered") else shown


_TIMING = ("_ms", "_time", "_buffered", "downstream_cx_tx_bytes_total")


def _changes(case: Case, changed: dict[str, int]) -> dict[str, int]:
    """What changed among the case's own statistics; `x-envoy-upstream-service-time` has no fixed length, so the bytes
    sent downstream over HTTP are not compared."""
    tcp = "filters" in case.spec or "filter_chains" in case.spec
    http2 = any(isinstance(each, dict) and each.get("h2") for each in case.spec.get("backends", {}).values())
    shown: dict[str, int] = {}
    for name, difference in changed.items():
        if f".{case.id}_" not in f".{name}":
            continue
        if name.endswith(_TIMING) and not (tcp and name.endswith("downstream_cx_tx_bytes_total")):
            continue
        if http2 and name.endswith("upstream_cx_tx_bytes_total"):
            continue  # how far headers are compressed is everybody's own choice
        if case.spec.get("spans") and name.endswith("upstream_cx_tx_bytes_total"):
            continue  # times have as many digits as they have
        if case.spec.get("coded_requests") and name.endswith("upstream_cx_tx_bytes_total"):
            continue
        # How often a window was full is a matter of timing; how far bodies are compressed, of the library.
        alike = "flow_control" in name or name.endswith("total_compressed_bytes")
        shown[name] = min(difference, 1) if alike and ".decompressor." not in name else difference
    return shown


async def _validate(kind: str, case: Case, directory: Path) -> Answer:
    """Accepted or not, and whether the key phrases are in what the proxy says.

    Whether minienvoy serves a feature is no question here, so what it does not support yet is a warning, unless
    the case is about that.
    """
    where = directory / case.id
    where.mkdir(parents=True, exist_ok=True)
    lenient = kind == "minienvoy" and not case.spec.get("unsupported_is_refused")
    extra = ["--unsupported", "warn"] if lenient else []

    async def one(number: int, text: str, says: str | None) -> str:
        path = where / f"{number}{case.spec.get('suffix', '.yaml')}"
        path.write_text(text)
        arguments = [*case.spec.get("args", []), *extra]
        if kind == "minienvoy":
            output = where / f"{number}.txt"
            process = await fork_server.start(validation(path, arguments), output)
            code = await asyncio.wait_for(process.wait(), START_TIMEOUT)
            said = output.read_text("utf-8", "replace")
        else:
            code, said = await validate(kind, path, arguments)
        if code != 0 and says is not None:
            spoken = says if " ".join(says.split()) in " ".join(said.split()) else f"not said: {says}"
            return f"refused (exit code {code}): {spoken}"
        return "accepted" if code == 0 else f"refused (exit code {code})"

    if "rows" not in case.spec:
        old, new = case.spec.get("change", ["", ""])
        return {"verdict": await one(0, case.spec["base"].replace(old, new, 1), case.spec.get("says"))}
    verdicts = []
    for number, row in enumerate(case.spec["rows"]):
        text, says = row if isinstance(row, list) else (row, None)
        verdict = await one(number, case.spec.get("template", "@@").replace("@@", text), says)
        verdicts.append(f"{' '.join(text.split())} => {verdict}")
    return {"verdicts": verdicts}

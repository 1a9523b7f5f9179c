"""The usual way: a gRPC proxy of grpcio's asyncio server and client, bytes passed on as they are, unary calls only.

Run as `python -m bench.peers.grpcio_proxy LISTEN:UPSTREAM` (ports on 127.0.0.1). With `LISTEN` alone it echoes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

HOST = "127.0.0.1"


class _Forward(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def service(self, handler_call_details: Any) -> Any:
        call = self._channel.unary_unary(handler_call_details.method)

        async def forward(request: bytes, context: Any) -> bytes:
            metadata = [(name, value) for name, value in context.invocation_metadata() if name != "user-agent"]
            answer = call(request, metadata=metadata, timeout=context.time_remaining())
            await context.send_initial_metadata(await answer.initial_metadata())
            response: bytes = await answer
            context.set_trailing_metadata(await answer.trailing_metadata())
            return response

        return grpc.unary_unary_rpc_method_handler(forward)


class _Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, handler_call_details: Any) -> Any:
        async def echo(request: bytes, context: Any) -> bytes:
            return request

        return grpc.unary_unary_rpc_method_handler(echo)


async def serve(listen: int, upstream: int | None) -> None:
    """Until the process is ended."""
    handler = _Echo() if upstream is None else _Forward(grpc.aio.insecure_channel(f"{HOST}:{upstream}"))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"{HOST}:{listen}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    listen, _, upstream = sys.argv[1].partition(":")
    asyncio.run(serve(int(listen), int(upstream) if upstream else None))


if __name__ == "__main__":
    main()

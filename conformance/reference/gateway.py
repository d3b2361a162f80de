"""Reference material: an independent gateway, on h2.

    gateway.py [--listen HOST:PORT] [--tunnel-listen HOST:PORT] [settings]
    gateway.py --subject [settings]

Written from the comments of router.proto alone, to show that they are enough; it is for reading and for testing
instances, not for service. Prints `ready client=ADDR tunnel=ADDR bound=BYTES`; `bound` is what it may hold of one
call and direction (README.md). With --subject it reads settings and says the same as subject.proto has it. Logs go
to stderr. SIGTERM drains it. Exit codes: 0 ended as asked, 2 wrong usage, 5 calls were still running when draining
had to end.

Left out, each as the protocol allows: routing keys, identity, asking for descriptors, the list of other gateways,
WatchInstances, and health and reflection of its own.
"""

import argparse
import asyncio
import logging
import signal
import sys

import subject
from gateway_http import HTTP2_WINDOW, WRITE_BUFFER
from gateway_ports import ClientConnection, TunnelConnection
from gateway_registry import Registry
from gateway_relay import KEPT_MAX
from gateway_tunnel import BATCH
from protocol import (
    CALL_WINDOW,
    DATA_IN_FRAME,
    HANDSHAKE_MS,
    HEARTBEAT_MS,
    MAX_CALLS,
    MAX_FRAME,
    MAX_METADATA,
)


class Gateway:
    def __init__(self, settings):
        self.settings = settings
        self.registry = Registry(settings.max_tunnels)
        self.clients, self.instances = set(), set()  # connections
        self.tunnels = set()
        self.changed = asyncio.Event()
        self.draining = False

    def bound(self):
        """B: what this gateway and the tunnels on both sides of it may hold of one call and direction."""
        settings = self.settings
        # A client may not yet know its window when it begins: HTTP/2's own first one counts too.
        client = max(settings.client_window, HTTP2_WINDOW)
        transports = 2 * (WRITE_BUFFER + DATA_IN_FRAME) + BATCH + MAX_FRAME
        return client + settings.call_window + transports + KEPT_MAX

    async def run(self, reply=None):
        """Runs until it is asked to end. A subject has a reply to give, once its ports take connections."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        tunnels = await self._listen(TunnelConnection, self.settings.tunnel_listen)
        clients = await self._listen(ClientConnection, self.settings.listen)
        if reply is None:
            places = f"client={_address(clients)} tunnel={_address(tunnels)}"
            print(f"ready {places} bound={self.bound()}", flush=True)
        else:
            reply.client_addr, reply.tunnel_addr = _address(clients), _address(tunnels)
            reply.bound_bytes = self.bound()
            subject.answer(reply)
            closed = loop.create_task(subject.closed())
            closed.add_done_callback(lambda _: stop.set())
        await stop.wait()
        return await self._drain(clients, tunnels)

    async def _listen(self, kind, address):
        host, port = address.rsplit(":", 1)
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: kind(self), host, int(port), backlog=1_024)

    async def _drain(self, clients, tunnels):
        self.draining = True
        clients.close()
        for connection in list(self.clients):
            connection.go_away()
        for tunnel in list(self.tunnels):
            tunnel.drain(answer=False, reason="the gateway is shutting down")
        code = 0
        try:
            async with asyncio.timeout(self.settings.drain_timeout_ms / 1000):
                while any(it.streams for it in self.clients) or self.tunnels:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            code = 5
        tunnels.close()
        for connection in list(self.clients):
            connection.close()
        return code


def _address(server):
    host, port = server.sockets[0].getsockname()[:2]
    return f"{host}:{port}"


def arguments():
    parser = argparse.ArgumentParser(description="Reference material: an independent gateway.")
    parser.add_argument("--listen", default="127.0.0.1:0", help="for clients")
    parser.add_argument("--tunnel-listen", default="127.0.0.1:0", help="for instances")
    parser.add_argument("--id", default="reference")
    parser.add_argument("--client-window", type=int, default=CALL_WINDOW)
    parser.add_argument("--call-window", type=int, default=CALL_WINDOW)
    parser.add_argument("--max-frame", type=int, default=MAX_FRAME)
    parser.add_argument("--max-metadata", type=int, default=MAX_METADATA)
    parser.add_argument("--max-calls", type=int, default=MAX_CALLS, help="at once on a tunnel")
    parser.add_argument("--max-streams", type=int, default=1_024, help="at once on a client's connection")
    parser.add_argument("--max-connections", type=int, default=4_096, help="at once on each port")
    parser.add_argument("--max-tunnels", type=int, default=1_024)
    parser.add_argument("--message-max", type=int, default=0, help="longest message, bytes; 0: any")
    parser.add_argument("--heartbeat-ms", type=int, default=HEARTBEAT_MS)
    parser.add_argument("--handshake-timeout-ms", type=int, default=HANDSHAKE_MS)
    parser.add_argument("--preface-timeout-ms", type=int, default=10_000)
    parser.add_argument("--client-keepalive-ms", type=int, default=30_000)
    parser.add_argument("--drain-timeout-ms", type=int, default=30_000)
    parser.add_argument("--shuffle-fields", action="store_true", help="encode fields in another order")
    parser.add_argument("--subject", action="store_true", help="read settings as subject.proto says")
    return parser.parse_args()


async def main():
    settings = arguments()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    reply = None
    if settings.subject:
        try:
            reply = subject.gateway(settings)
        except subject.Unready as error:
            subject.refuse(str(error))
            return 2
    return await Gateway(settings).run(reply)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

"""Reference material: the connections of the gateway's two ports, clients' and instances'."""

import logging

from gateway_admin import Admin
from gateway_http import Connection
from gateway_relay import Relay
from gateway_request import Malformed, NotGrpc, Refusal, Request
from gateway_tunnel import Tunnel
from protocol import MAX_METADATA, PROTOCOL_ERROR, UNAVAILABLE
from stubs import REGISTER

log = logging.getLogger("gateway")

TUNNEL_WINDOW = 4 * 1024 * 1024
# Instances' connections carry few streams, and may be silent between heartbeats.
TUNNEL_KEEPALIVE_S = 60.0


class Counted(Connection):
    """A connection of one of the two ports: its gateway counts it, and waits for the end of its streams when it
    drains."""

    def __init__(self, gateway, port, keepalive_s):
        super().__init__(keepalive_s, gateway.settings.preface_timeout_ms / 1000)
        self.gateway, self.port = gateway, port

    def connection_made(self, transport):
        if len(self.port) >= self.gateway.settings.max_connections:
            log.warning("a connection too many")
            transport.abort()
            return
        self.port.add(self)
        super().connection_made(transport)

    def forget(self, stream_id):
        super().forget(stream_id)
        self.gateway.changed.set()

    def connection_lost(self, error):
        self.port.discard(self)
        super().connection_lost(error)
        self.gateway.changed.set()


class ClientConnection(Counted):
    """A client: its streams are calls."""

    def __init__(self, gateway):
        settings = gateway.settings
        super().__init__(gateway, gateway.clients, settings.client_keepalive_ms / 1000)
        self.stream_window, self.max_streams = settings.client_window, settings.max_streams

    def request(self, stream_id, headers, ended):
        try:
            request = Request(headers, self.gateway.settings.max_metadata)
        except Malformed as error:
            log.info("a malformed request: %s", error)
            self.reset(stream_id, PROTOCOL_ERROR)
            return None
        except NotGrpc as error:
            self.send_headers(stream_id, [(b":status", error.status)], end=True)
            if not ended:
                self.reset(stream_id, 0)
            return None
        except Refusal as refusal:
            return self._refused(stream_id, ended, refusal)
        relay = Relay(self, stream_id, request, self.gateway.registry)
        relay.request_ended = ended
        try:
            if self.gateway.draining:
                raise Refusal(UNAVAILABLE, "draining", "the gateway is shutting down")
            relay.start()
        except Refusal as refusal:
            relay.fail(refusal.code, refusal.reason, refusal.message)
        return relay

    def _refused(self, stream_id, ended, refusal):
        relay = Relay(self, stream_id, None, self.gateway.registry)
        relay.request_ended = ended
        relay.fail(refusal.code, refusal.reason, refusal.message)
        return relay


class TunnelConnection(Counted):
    """An instance, or a tool that asks for the list of instances."""

    stream_window = TUNNEL_WINDOW

    def __init__(self, gateway):
        super().__init__(gateway, gateway.instances, TUNNEL_KEEPALIVE_S)

    def request(self, stream_id, headers, ended):
        try:
            request = Request(headers, MAX_METADATA)
        except (Malformed, NotGrpc, Refusal) as error:
            log.info("not a tunnel: %s", error)
            self.reset(stream_id, PROTOCOL_ERROR)
            return None
        if request.method != REGISTER:
            return Admin(self, stream_id, request.method, self.gateway.registry)
        tunnel = Tunnel(self, stream_id, self.gateway)
        self.gateway.tunnels.add(tunnel)
        return tunnel

    def forget(self, stream_id):
        self.gateway.tunnels.discard(self.streams.get(stream_id))
        super().forget(stream_id)

    def _drop_all(self):
        self.gateway.tunnels.difference_update(self.streams.values())
        super()._drop_all()

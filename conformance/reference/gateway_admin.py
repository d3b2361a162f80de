"""Reference material: what a gateway tells tools on the tunnel port: ListInstances and HealthCheck."""

from google.protobuf.message import DecodeError

from gateway_registry import takes_calls
from protocol import INVALID_ARGUMENT, NO_ERROR, OK, UNIMPLEMENTED
from stubs import router

REQUEST_MAX = 65_536


class Admin:
    """A stream with one request and one answer (gateway_http.Connection says what it must do)."""

    def __init__(self, connection, stream_id, method, registry):
        self.connection, self.stream_id = connection, stream_id
        self.registry = registry
        self.method = method.rsplit("/", 1)[1]
        self.inbox = bytearray()
        self.request_ended = False
        self.answer = None  # (code, message)
        self.outbox = None
        if self.method not in ("ListInstances", "HealthCheck"):
            self.answer = (UNIMPLEMENTED, b"")

    def data(self, data):
        self.connection.release(self.stream_id, len(data))
        self.inbox += data
        if len(self.inbox) > REQUEST_MAX:
            self._give(INVALID_ARGUMENT, b"")

    def half_closed(self):
        self.request_ended = True
        if self.answer is None:
            try:
                self._give(OK, getattr(self, f"_{self.method}")(bytes(self.inbox[5:])).SerializeToString())
            except DecodeError:
                self._give(INVALID_ARGUMENT, b"")

    def gone(self):
        pass

    def _give(self, code, message):
        self.answer = self.answer or (code, message)
        self.connection.wants_write(self.stream_id)

    def _ListInstances(self, data):
        asked = router.ListInstancesRequest.FromString(data)
        listed = []
        for name in sorted(self.registry.tunnels):
            tunnel = self.registry.tunnels[name]
            labels = dict(tunnel.info.labels)
            if asked.service and asked.service not in tunnel.services and "*" not in tunnel.services:
                continue
            if asked.health and _health(tunnel, asked.service) != asked.health:
                continue
            if all(labels.get(key) == value for key, value in asked.labels.items()):
                listed.append(_instance(tunnel))
        return router.ListInstancesResponse(instances=listed, revision=self.registry.revision)

    def _HealthCheck(self, data):
        asked = router.HealthCheckRequest.FromString(data)
        if asked.instance_id:
            tunnel = self.registry.tunnels.get(asked.instance_id)
            return router.HealthCheckResponse(status=_health(tunnel, asked.service) if tunnel else 0)
        all_of_them = [_health(it, asked.service) for it in self.registry.tunnels.values()]
        known = [it for it in all_of_them if it != router.UNKNOWN]
        if not known:
            return router.HealthCheckResponse()
        healthy = router.HEALTHY in known
        return router.HealthCheckResponse(status=router.HEALTHY if healthy else router.UNHEALTHY)

    def push(self):
        if self.answer is None:
            return False
        connection, stream_id = self.connection, self.stream_id
        code, message = self.answer
        head = [(b":status", b"200"), (b"content-type", b"application/grpc")]
        if code == OK and self.outbox is None:
            connection.send_headers(stream_id, head, end=False)
            self.outbox = b"\0" + len(message).to_bytes(4, "big") + message
        if self.outbox:
            room = connection.room(stream_id)
            piece, self.outbox = self.outbox[:room], self.outbox[room:]
            if piece:
                connection.h2.send_data(stream_id, piece)
            return bool(piece)
        head = head if code != OK else []
        connection.send_headers(stream_id, [*head, (b"grpc-status", b"%d" % code)], end=True)
        if self.request_ended:
            connection.forget(stream_id)
        else:
            connection.reset(stream_id, NO_ERROR)
        return False


def _health(tunnel, service):
    """UNKNOWN where it does not have the service."""
    if service and service not in tunnel.services and "*" not in tunnel.services:
        return router.UNKNOWN
    if tunnel.draining:
        return router.STOPPING
    if service:
        return tunnel.services.get(service, tunnel.services.get("*")) or router.HEALTHY
    if any(takes_calls(it) for it in tunnel.services.values()):
        return router.HEALTHY
    return tunnel.services[min(tunnel.services)]


def _instance(tunnel):
    info = tunnel.info
    return router.Instance(
        instance_id=info.instance_id,
        epoch=info.epoch,
        services=[router.ServiceInfo(name=name, health=it) for name, it in tunnel.services.items()],
        keys=info.keys,
        labels=dict(info.labels),
        weight=info.weight,
        version=info.version,
        draining=tunnel.draining,
    )

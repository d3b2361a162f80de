"""Reference material: one Register stream at the gateway, from the first frame to its end."""

import asyncio
import logging

from google.protobuf.message import DecodeError

import wire
from gateway_registry import SUPERSEDED, Rejected, check, takes_calls
from late import Breaches, Ended
from outgoing import Lanes
from protocol import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    MAX_FRAME,
    OK,
    REVISION,
    UNAVAILABLE,
    Breach,
    Fault,
)
from stubs import router

log = logging.getLogger("tunnel")

# Frames are made when HTTP/2 has room, up to about this much at a time.
BATCH = 32_768
# How long the last frame and the end of the stream may take to go out.
END_LIMIT_S = 5.0
# Makes ids of calls look like what they are to an instance: opaque. Odd, so no two are the same.
_SCATTER = 0x9E3779B97F4A7C15


class Tunnel:
    """A stream of the instance's connection (gateway_http.Connection says what it must do)."""

    def __init__(self, connection, stream_id, gateway):
        self.connection, self.stream_id, self.gateway = connection, stream_id, gateway
        self.settings = gateway.settings
        self.info = None
        self.services = {}
        self.calls = {}
        self.given = 0
        self.breaches = Breaches(asyncio.get_running_loop().time)
        self.lanes = Lanes(lambda: connection.wants_write(stream_id))
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.draining = self.over = self.headers_sent = False
        self.end = None  # the code with which the stream ends
        self.heard = asyncio.get_running_loop().time()
        self.nonce = 0
        patience = self.settings.handshake_timeout_ms / 1000
        self.timer = asyncio.get_running_loop().call_later(patience, self._no_handshake)

    # From the connection.

    def data(self, data):
        # The tunnel is always read.
        self.connection.release(self.stream_id, len(data))
        if self.end is not None:
            return
        self.heard = asyncio.get_running_loop().time()
        self.inbox += data
        try:
            while self.end is None and len(self.inbox) >= 5:
                flag, length = self.inbox[0], int.from_bytes(self.inbox[1:5], "big")
                if flag != 0:
                    raise Fault("a compressed frame")
                if length > (self.settings.max_frame if self.info is not None else MAX_FRAME):
                    raise Fault(f"a frame of {length} bytes")
                if len(self.inbox) < 5 + length:
                    return
                frame = bytes(self.inbox[5 : 5 + length])
                del self.inbox[: 5 + length]
                self._frame(frame)
        except Fault as fault:
            log.warning("instance at fault: %s", fault)
            self.close(Rejected(INTERNAL, "protocol-error", str(fault)))
        except Rejected as rejected:
            log.warning("registration refused: %s %s", rejected.reason, rejected.message)
            self.close(rejected)

    def half_closed(self):
        """Drained, or lost where calls still run."""
        if self.end is None:
            self._end(OK)

    def gone(self):
        self.over = True
        self._end(UNAVAILABLE)

    # Frames.

    def _frame(self, data):
        try:
            frame = router.RegisterRequest.FromString(data)
        except DecodeError:
            raise Fault("a frame that does not decode") from None
        kind = frame.WhichOneof("frame")
        if self.info is None:
            if kind != "instance_info":
                raise Fault("the first frame is not InstanceInfo")
            self._register(frame.instance_info)
        elif kind == "instance_info":
            raise Fault("a second InstanceInfo")
        elif kind == "rpc_response":
            self._response(frame.rpc_response)
        elif kind == "heartbeat":
            self._heartbeat(frame.heartbeat)
        elif kind == "unregister":
            self.drain(answer=True, reason=frame.unregister.reason)
        elif kind == "descriptor_chunk":
            raise Fault("a chunk of descriptors that was not asked for")

    def _register(self, info):
        if self.gateway.draining:
            raise Rejected(UNAVAILABLE, "draining", "the gateway is shutting down")
        check(info)
        self.max_calls = min(info.max_calls, self.settings.max_calls)
        self.info = info
        self.ended = Ended(4 * info.max_calls)
        self.services = {it.name: it.health for it in info.services}
        try:
            before = self.gateway.registry.register(self)
        except Rejected:
            self.info = None
            raise
        if before is not None:
            before.close(SUPERSEDED)
        self.timer.cancel()
        settings = self.settings
        ack = router.RegistrationAck(
            gateway_id=settings.id,
            revision=REVISION,
            call_window=settings.call_window,
            max_frame=settings.max_frame,
            heartbeat_interval_ms=settings.heartbeat_ms,
            max_metadata=settings.max_metadata,
        )
        self.lanes.put(router.RegisterResponse(ack=ack))
        log.info("registered %s", info.instance_id)
        self._beat_later()

    def _response(self, frame):
        call = self.calls.get(frame.request_id)
        if call is not None and call.started:
            try:
                call.receive(frame)
            except Breach as breach:
                self._breach(breach)
                call.relay.fail(breach.status, breach.reason, str(breach), reset=breach.code)
        elif not self.ended.tolerates(frame.request_id, len(frame.data)):
            if not self._was_given(frame.request_id):
                raise Fault("a frame of a call that was never given")
            self._breach(Breach("a frame of a call long over"))

    def _breach(self, breach):
        log.warning("breach by %s: %s", self.info.instance_id, breach)
        self.breaches.count(breach)

    # Calls.

    def next_id(self):
        self.given += 1
        return self.given * _SCATTER & (2**64 - 1)

    def _was_given(self, request_id):
        number = request_id * pow(_SCATTER, -1, 2**64) & (2**64 - 1)
        call = self.calls.get(request_id)
        return 1 <= number <= self.given and (call is None or call.started)

    def open(self, call):
        self.calls[call.id] = call
        self.lanes.mark(call)

    def forget(self, call):
        """The call is over on this tunnel."""
        if self.calls.pop(call.id, None) is not None:
            self.ended.remember(call.id, call.receiver.credit, call.ended_by_peer)

    def takes(self, service):
        """Whether it offers this service, and takes new calls of it."""
        health = self.services.get(service, self.services.get("*"))
        return health is not None and takes_calls(health) and not self.draining

    # Life.

    def _heartbeat(self, heartbeat):
        for service in heartbeat.services:
            if service.name in self.services:
                self.services[service.name] = service.health
                self.gateway.registry.changed()
        if heartbeat.nonce:
            # Of several questions that wait, the last is answered.
            for waiting in [it for it in self.lanes.control if it.heartbeat.reply_to]:
                self.lanes.control.remove(waiting)
            self.lanes.put(_heartbeat(reply_to=heartbeat.nonce))

    def _beat_later(self):
        interval = self.settings.heartbeat_ms / 1000
        self.timer = asyncio.get_running_loop().call_later(interval, self._beat)

    def _beat(self):
        silence = asyncio.get_running_loop().time() - self.heard
        if silence >= 2 * self.settings.heartbeat_ms / 1000:
            self.close(Rejected(UNAVAILABLE, "heartbeat-lost", "nothing was received for two intervals"))
            return
        if not any(it.heartbeat.nonce for it in self.lanes.control):
            self.nonce += 1
            self.lanes.put(_heartbeat(nonce=self.nonce))
        self._beat_later()

    def _no_handshake(self):
        self.close(Rejected(DEADLINE_EXCEEDED, "handshake-timeout", "no InstanceInfo in time"))

    def drain(self, answer, reason):
        """No OPEN follows this. Calls that wait for theirs go elsewhere or end."""
        if self.info is None or self.end is not None:
            return
        first = not self.draining
        self.draining = True
        self.gateway.registry.changed()
        for call in [it for it in self.calls.values() if not it.started]:
            call.cancel(0)
            if not call.relay.retry():
                call.relay.fail(UNAVAILABLE, "draining", "the instance takes no new calls")
        if first or answer:
            drain = router.Drain(reason="" if answer else reason, answer=answer)
            self.lanes.put(router.RegisterResponse(drain=drain))

    # Its end.

    def close(self, rejected):
        """ErrorResponse, then the end of the stream with the same code."""
        if self.end is None:
            self.lanes = Lanes(self.lanes.wake)
            error = router.ErrorResponse(
                code=rejected.code, reason=rejected.reason, message=rejected.message
            )
            self.lanes.put(router.RegisterResponse(error=error))
            self._end(rejected.code)

    def _end(self, code):
        if self.end is None:
            self.end = code
            asyncio.get_running_loop().call_later(END_LIMIT_S, self._cut)
        self.timer.cancel()
        if self.info is not None:
            self.gateway.registry.remove(self)
        calls, self.calls = self.calls, {}
        for call in calls.values():
            call.over = True
            call.relay.lost()
        if not self.over:
            self.connection.wants_write(self.stream_id)

    def _cut(self):
        if not self.over:
            self.over = True
            self.connection.reset(self.stream_id, 0)

    # To the instance.

    def push(self):
        """Writes what it may. True where it could write more at once."""
        connection, stream_id = self.connection, self.stream_id
        if self.over:
            return False
        if not self.headers_sent:
            head = [(b":status", b"200"), (b"content-type", b"application/grpc")]
            connection.send_headers(stream_id, head, end=False)
            self.headers_sent = True
        while len(self.outbox) < BATCH and connection.room(stream_id) > 0:
            frame = self.lanes.next()
            if frame is None:
                break
            self._append(frame)
        room = connection.room(stream_id)
        if self.outbox and room > 0:
            piece = bytes(self.outbox[:room])
            del self.outbox[:room]
            connection.h2.send_data(stream_id, piece)
            return True
        if self.end is not None and not self.outbox:
            self.over = True
            connection.send_headers(stream_id, [(b"grpc-status", b"%d" % self.end)], end=True)
            connection.forget(stream_id)
        return False

    def _append(self, frame):
        if isinstance(frame, router.RpcCall):
            frame = router.RegisterResponse(rpc_call=frame)
        data = wire.encode(frame, self.settings.shuffle_fields)
        self.outbox += b"\0" + len(data).to_bytes(4, "big") + data


def _heartbeat(**fields):
    return router.RegisterResponse(heartbeat=router.Heartbeat(**fields))

"""Reference material: one call of a client, between its HTTP/2 stream and a tunnel."""

import asyncio

from gateway_lengths import Lengths
from gateway_request import Refusal
from outgoing import Outgoing
from protocol import (
    CANCEL,
    CANCELLED,
    COMPLETE,
    CONTENT_TYPE,
    DATA_IN_FRAME,
    DEADLINE_EXCEEDED,
    HALF_CLOSE,
    HEAD,
    INTERNAL,
    NO_ERROR,
    OPEN,
    PERMISSION_DENIED,
    REFUSED,
    RESET,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNKNOWN,
    Breach,
    allowed_value,
    encode_base64,
    escape_message,
    list_size,
    read_metadata,
    write_metadata,
)
from stubs import router

# As much of a request is kept for a second try.
KEPT_MAX = 16_384
# What gRPC makes of an HTTP/2 error code.
_OF_RESET = {7: UNAVAILABLE, 8: CANCELLED, 11: RESOURCE_EXHAUSTED, 12: PERMISSION_DENIED}


class TunnelCall(Outgoing):
    """The call as the tunnel knows it. A second try is another one."""

    Frame = router.RpcCall
    START, END = OPEN, HALF_CLOSE

    def __init__(self, tunnel, relay):
        info = tunnel.info
        super().__init__(tunnel.next_id(), info.call_window, tunnel.settings.call_window, info.max_frame)
        self.tunnel = tunnel
        self.relay = relay
        self.start_ready = True
        self.head = None
        self.first = True

    def receive(self, frame):
        """A frame of the instance. Raises Breach."""
        flags = frame.flags & (HEAD | COMPLETE | RESET | REFUSED)
        if flags & REFUSED and not flags & RESET:
            raise Breach("REFUSED without RESET")
        if flags & RESET:
            if flags & (HEAD | COMPLETE) or frame.data:
                raise Breach("RESET with more in its frame")
            self.over = self.ended_by_peer = True
            self.tunnel.forget(self)
            # REFUSED after a part of the answer is not believed; the call is over all the same.
            self.relay.was_reset(frame.reset_code, refused=self.first and bool(flags & REFUSED))
            return
        if frame.window:
            self.sender.grant(frame.window)
        self.first = self.first and not flags and not frame.data
        limit = self.tunnel.settings.max_metadata
        head = None
        if flags & HEAD:
            if self.head is not None:
                raise Breach("HEAD twice")
            if not allowed_value(frame.content_type):
                raise Breach("a content type that HTTP does not allow")
            head = self.head = read_metadata(frame.metadata, limit, answer=True)
        if frame.data:
            if self.head is None:
                raise Breach("data before HEAD")
            self.receiver.receive(frame.seq, frame.data)
        too_long = not self.relay.answer_lengths.pass_on(frame.data)
        trailers = read_metadata(frame.trailers, limit, answer=True) if flags & COMPLETE else None
        if head is not None:
            self.relay.got_head(frame.content_type or CONTENT_TYPE, head)
        if trailers is not None:
            self.receiver.ended = True
            self.over = self.ended_by_peer = True
            self.tunnel.forget(self)
            status = frame.status if frame.status <= 16 else UNKNOWN
            self.relay.got_end(status, frame.message, frame.details, trailers)
        if too_long:
            self.relay.too_long("answer")
        self.relay.wants_write()
        self.tunnel.lanes.mark(self)

    def cancel(self, code):
        """RESET, unless the instance has never heard of the call."""
        if self.over:
            return
        if self.started:
            self.reset = (code, 0)
            self.tunnel.lanes.mark(self)
        else:
            self.over = True
        self.tunnel.forget(self)

    def fill_start(self, frame):
        relay = self.relay
        if relay.deadline is not None:
            left = relay.deadline - asyncio.get_running_loop().time()
            if left <= 0:
                relay.deadline_passed()
                return False
            frame.timeout_us = min(2**63, max(1, int(left * 1e6)))
        request = relay.request
        frame.method, frame.authority = request.method, request.authority
        if request.content_type != CONTENT_TYPE:
            frame.content_type = request.content_type
        write_metadata(frame.metadata, request.metadata)
        relay.connection.used()
        return True

    def left(self, data):
        self.relay.left(data)

    def _may_grant(self):
        return self.started


class Relay:
    """A stream of the client's connection (gateway_http.Connection says what it must do)."""

    def __init__(self, connection, stream_id, request, registry):
        self.connection, self.stream_id = connection, stream_id
        self.request, self.registry = request, registry
        self.deadline = self.timer = None
        self.call = None
        self.tried = []
        self.kept = bytearray()  # of the request, as it was sent; None where it is too much
        self.repeated = 0  # bytes that a second try sends again
        self.request_ended = self.over = False
        self.head = self.end = None
        self.head_sent = False
        limit = connection.gateway.settings.message_max
        self.request_lengths, self.answer_lengths = Lengths(limit), Lengths(limit)
        if request is not None and request.timeout_s is not None:
            loop = asyncio.get_running_loop()
            self.deadline = loop.time() + request.timeout_s
            self.timer = loop.call_at(self.deadline, self.deadline_passed)

    def start(self, waiting=b""):
        """Picks an instance and opens the call there."""
        tunnel = self.registry.pick(self.request, excluded=self.tried)
        if list_size(self.request.metadata) > tunnel.info.max_metadata:
            raise Refusal(RESOURCE_EXHAUSTED, "limit", "more metadata than the instance takes")
        self.tried.append(tunnel)
        self.call = TunnelCall(tunnel, self)
        self.call.sender.waiting += waiting
        self.call.end_ready = self.request_ended
        tunnel.open(self.call)

    # From the client.

    def data(self, data):
        if self.call is None or self.call.over:
            return
        if not self.request_lengths.pass_on(data):
            self.too_long("request")
            return
        self.call.sender.waiting += data
        self.call.tunnel.lanes.mark(self.call)

    def half_closed(self):
        self.request_ended = True
        if self.call is not None and not self.call.over:
            self.call.end_ready = True
            self.call.tunnel.lanes.mark(self.call)

    def gone(self):
        self._finish()
        if self.call is not None:
            self.call.cancel(CANCEL)
        if self.call is None or not self.call.started:
            self.connection.unused()

    # From the tunnel.

    def left(self, data):
        """Bytes of the request have left for the instance: the client may send as many more."""
        again = min(len(data), self.repeated)
        self.repeated -= again
        self.connection.release(self.stream_id, len(data) - again)
        if self.kept is not None:
            self.kept += data
            if len(self.kept) > KEPT_MAX:
                self.kept = None

    def got_head(self, content_type, metadata):
        self.kept = None
        self.head = (content_type, metadata)

    def got_end(self, code, message, details, trailers):
        end = [(b"grpc-status", b"%d" % code)]
        if message:
            end.append((b"grpc-message", escape_message(message)))
        if details:
            end.append((b"grpc-status-details-bin", encode_base64(details)))
        self.end = end + trailers

    def was_reset(self, code, refused):
        if refused:
            if not self.retry():
                self.fail(UNAVAILABLE, "refused", "no instance took the call")
        else:
            status = _OF_RESET.get(code, INTERNAL)
            self.fail(status, "instance-reset", "the instance reset the call")

    def lost(self):
        """The tunnel has ended. What it has never sent may go elsewhere."""
        if self.call.started or not self.retry():
            self.fail(UNAVAILABLE, "instance-lost", "the tunnel to the instance ended")

    def retry(self):
        """Section 11. Whether another instance has the call now."""
        if self.kept is None or len(self.tried) > 1 or self.over:
            return False
        kept, self.kept = self.kept, bytearray()
        self.repeated = len(kept)
        try:
            self.start(waiting=bytes(kept + self.call.sender.waiting))
        except Refusal:
            return False
        return True

    # Its end.

    def deadline_passed(self):
        self.fail(DEADLINE_EXCEEDED, "deadline", "the time of the call is over")

    def too_long(self, which):
        self.fail(RESOURCE_EXHAUSTED, "limit", f"the {which} has a message that is too long")

    def fail(self, code, reason, message, reset=CANCEL):
        """Ends the call by the gateway itself."""
        if self.over:
            return
        if self.call is not None:
            self.call.cancel(reset)
            self.call.receiver.take(self.call.receiver.held)
        self.got_end(code, message.encode(), b"", [(b"grpcrouter-reason", reason.encode())])
        self.wants_write()

    def _finish(self):
        self.over = True
        if self.timer is not None:
            self.timer.cancel()

    # To the client.

    def wants_write(self):
        self.connection.wants_write(self.stream_id)

    def push(self):
        """Writes what it may. True where it could write more at once."""
        connection, stream_id = self.connection, self.stream_id
        if self.over:
            return False
        if self.head is not None and not self.head_sent:
            content_type, metadata = self.head
            head = [(b":status", b"200"), (b"content-type", content_type), *metadata]
            connection.send_headers(stream_id, head, end=False)
            self.head_sent = True
        receiver = self.call.receiver if self.call is not None else None
        if receiver is not None and receiver.held:
            data = receiver.take(min(connection.room(stream_id), DATA_IN_FRAME))
            if data:
                connection.h2.send_data(stream_id, data)
                self.call.tunnel.lanes.mark(self.call)
            if receiver.held:
                return connection.room(stream_id) > 0
        if self.end is not None:
            head = [] if self.head_sent else [(b":status", b"200"), (b"content-type", CONTENT_TYPE)]
            connection.send_headers(stream_id, [*head, *self.end], end=True)
            self._finish()
            if self.request_ended:
                connection.forget(stream_id)
            else:
                # The answer is whole: the client need not send the rest (RFC 9113, 8.1).
                connection.reset(stream_id, NO_ERROR)
        return False


"""Reference material: one call at the instance, between its tunnel and its handler."""

import asyncio

from outgoing import Outgoing
from protocol import (
    COMPLETE,
    DEADLINE_EXCEEDED,
    HALF_CLOSE,
    HEAD,
    MAX_FRAME,
    OPEN,
    REFUSED,
    RESET,
    RESOURCE_EXHAUSTED,
    UNKNOWN,
    Breach,
    allowed_method,
    list_size,
    read_metadata,
    reserved,
    write_metadata,
)
from stubs import router


class InstanceCall(Outgoing):
    """What the handler sees: the request's head, `take`, `head`, `send`, `finish`, `abort`."""

    Frame = router.RpcResponse
    START, END = HEAD, COMPLETE

    def __init__(self, tunnel, request_id):
        super().__init__(request_id, tunnel.ack.call_window, tunnel.call_window, tunnel.max_frame)
        self.tunnel = tunnel
        self.method = self.authority = ""
        self.content_type = b""
        self.metadata = []
        self.deadline = None  # on the loop's clock
        self.timer = self.task = None
        self.cancelled = None  # why
        self.cancelled_at = None
        self.answered = False
        self.initial, self.status, self.trailers = [], None, []
        self.accepted = 0  # bytes of the answer that have left
        self.on_left = lambda: None
        self.readable = asyncio.Event()
        self.drained = asyncio.Event()

    # From the tunnel.

    def open(self, frame):
        """Reads the fields of OPEN."""
        if frame.flags & (RESET | REFUSED):
            raise Breach("flags that contradict OPEN")
        if not allowed_method(frame.method):
            raise Breach("a method that is not allowed")
        self.method, self.authority = frame.method, frame.authority
        self.content_type = frame.content_type or b"application/grpc"
        self.metadata = read_metadata(frame.metadata, self.tunnel.max_metadata, answer=False)
        if frame.timeout_us:
            loop = asyncio.get_running_loop()
            self.deadline = loop.time() + frame.timeout_us / 1e6
            self.timer = loop.call_at(self.deadline, self.deadline_passed)
        self.receive(frame, first=True)

    def receive(self, frame, first=False):
        if frame.flags & REFUSED:
            raise Breach("flag 8 in an RpcCall")
        if frame.flags & RESET:
            if frame.flags & (OPEN | HALF_CLOSE) or frame.data:
                raise Breach("RESET with more in its frame")
            self.over = self.ended_by_peer = True
            self.cancel("reset")
            return
        if frame.flags & OPEN and not first:
            raise Breach("OPEN twice")
        if frame.window:
            self.sender.grant(frame.window)
        if frame.data:
            self.receiver.receive(frame.seq, frame.data)
        if frame.flags & HALF_CLOSE:
            if self.receiver.ended:
                raise Breach("HALF_CLOSE twice")
            self.receiver.ended = True
        self.readable.set()
        self.tunnel.lanes.mark(self)

    def deadline_passed(self):
        # The gateway tells the client. This side ends its half by the same status, since RESET would be
        # read as CANCELLED where it comes first.
        # What still waits is dropped, and with it an end that would have followed.
        self.cancel("deadline")
        self.sender.waiting.clear()
        self.answered = False
        self.answer(DEADLINE_EXCEEDED, b"", b"", [])

    def cancel(self, reason):
        """The handler stops; nothing is taken from the request after it."""
        if self.cancelled is None and not self.answered:
            self.cancelled = reason
            self.cancelled_at = asyncio.get_running_loop().time()
            if self.task is not None:
                self.task.cancel()
        self.readable.set()
        self.drained.set()
        if self.over:
            self.tunnel.forget(self)

    # From the handler.

    def remaining_us(self):
        if self.deadline is None:
            return None
        return max(0, int((self.deadline - asyncio.get_running_loop().time()) * 1e6))

    async def take(self, limit):
        """Between 1 and `limit` bytes of the request; none at its end."""
        while not self.receiver.chunks:
            if self.receiver.ended:
                return b""
            self.readable.clear()
            await self.readable.wait()
        data = self.receiver.take(limit)
        self.tunnel.lanes.mark(self)
        return data

    def head(self, entries):
        """Sends the initial metadata, without waiting for a message."""
        if self.start_ready or self.answered:
            return
        self.initial = [it for it in entries if not reserved(it[0], answer=True)]
        if list_size(self.initial) > self.tunnel.metadata_to_send:
            self.finish(RESOURCE_EXHAUSTED, b"initial metadata too large", b"", [])
            return
        self.start_ready = True
        self.tunnel.lanes.mark(self)

    async def send(self, data):
        """Takes one message more once all that was sent before has left."""
        while self.sender.waiting:
            self.drained.clear()
            await self.drained.wait()
        if self.answered:
            return
        self.head([])
        self.sender.waiting += data
        self.tunnel.lanes.mark(self)

    async def flushed(self):
        """Waits until all that was sent has left."""
        while self.sender.waiting and not self.answered:
            self.drained.clear()
            await self.drained.wait()

    def finish(self, code, message, details, trailers):
        """The end of the answer. It follows what still waits."""
        if self.cancelled is None:
            self.answer(code, message, details, trailers)

    def abort(self, code):
        """Ends the call with RESET."""
        if not self.answered:
            self.answered = True
            self.reset = (code, 0)
            self.tunnel.lanes.mark(self)
            self.tunnel.forget(self)

    def answer(self, code, message, details, trailers):
        if self.answered:
            return
        self.answered = True
        trailers = [it for it in trailers if not reserved(it[0], answer=True)]
        if list_size(trailers) > self.tunnel.metadata_to_send:
            code, message, details, trailers = RESOURCE_EXHAUSTED, b"trailers too large", b"", []
        self.status = (code if code <= 16 else UNKNOWN, message, details)
        self.trailers = trailers
        alone = router.RpcResponse(request_id=self.id, flags=COMPLETE)
        self.fill_end(alone)
        if alone.ByteSize() > min(self.max_frame, MAX_FRAME) - 16:
            self.status, self.trailers = (RESOURCE_EXHAUSTED, b"the end fits no frame", b""), []
        self.end_ready = True
        self.tunnel.lanes.mark(self)

    def refuse(self, code, flags):
        """RESET before a handler has seen the call."""
        self.answered = True
        self.reset = (code, flags)
        self.tunnel.lanes.mark(self)

    # From the lanes.

    def fill_start(self, frame):
        write_metadata(frame.metadata, self.initial)
        return True

    def fill_end(self, frame):
        frame.status, frame.message, frame.details = self.status
        write_metadata(frame.trailers, self.trailers)

    def end_without_start(self):
        return not self.start_ready

    def left(self, data):
        self.accepted += len(data)
        self.on_left()
        if not self.sender.waiting:
            self.drained.set()

    def ended(self):
        self.over = True
        self.tunnel.forget(self)

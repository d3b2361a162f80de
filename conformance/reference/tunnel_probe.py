"""Reference material: gRPC's server side over the bytes of one tunnelled call, for the probe's handler."""

import logging

from probe_handler import Refused
from protocol import INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED, encode_base64, escape_message
from stubs import PROBE_SERVICE

log = logging.getLogger("probe")

METHODS = {"Unary", "ServerStream", "ClientStream", "Bidi"}
# HTTP/2's INTERNAL_ERROR.
INTERNAL_ERROR = 2
# A message is taken off the tunnel in pieces of at most this.
PIECE = 65_536


class TunnelProbe:
    """Answers the calls of an instance: the probe's methods by the probe, others by UNIMPLEMENTED."""

    def __init__(self, probe, message_max):
        self.probe = probe
        self.message_max = message_max

    async def __call__(self, call):
        service, _, method = call.method.removeprefix("/").partition("/")
        if service != PROBE_SERVICE or method not in METHODS:
            call.finish(UNIMPLEMENTED, b"no such method", b"", [])
            return
        try:
            await self.probe(Stream(call, self.message_max))
        except Exception:
            log.exception("a defect of the probe")
            call.finish(INTERNAL, b"a defect of the probe", b"", [])


class Stream:
    """The transport that probe_handler.py asks for."""

    def __init__(self, call, message_max):
        self.call = call
        self.message_max = message_max
        self.method, self.authority = call.method, call.authority
        self.metadata = [(key.decode(), value) for key, value in call.metadata]
        self.encoded = any(key == "grpc-encoding" for key, _ in self.metadata)

    @property
    def timeout_us(self):
        return self.call.remaining_us()

    @property
    def on_sent(self):
        return self.call.on_left

    @on_sent.setter
    def on_sent(self, tell):
        self.call.on_left = tell

    def sent_bytes(self):
        return self.call.accepted

    async def read(self):
        """The next flag and message. Takes off the tunnel what belongs to it and no more."""
        prefix = await self._exactly(5, may_end=True)
        if prefix is None:
            return None
        length = int.from_bytes(prefix[1:], "big")
        if length > self.message_max:
            raise Refused(RESOURCE_EXHAUSTED, f"a message of {length} bytes")
        message = await self._exactly(length)
        if prefix[0] not in (0, 1):
            raise Refused(INTERNAL, "a message prefix that is none")
        if prefix[0] == 1 and not self.encoded:
            raise Refused(INTERNAL, "a compressed message without grpc-encoding")
        return prefix[0], message

    async def _exactly(self, size, may_end=False):
        data = bytearray()
        while len(data) < size:
            piece = await self.call.take(min(size - len(data), PIECE))
            if not piece:
                if may_end and not data:
                    return None
                raise Refused(INTERNAL, "the request ends in the middle of a message")
            data += piece
        return bytes(data)

    async def head(self, entries):
        self.call.head(_encoded(entries))

    async def send(self, flag, message):
        if len(message) > self.message_max:
            raise Refused(RESOURCE_EXHAUSTED, f"a message of {len(message)} bytes")
        if not self.call.start_ready:
            await self.head([])
        await self.call.send(bytes([flag]) + len(message).to_bytes(4, "big") + message)

    def finish(self, code, message, details, trailers):
        code = 2 if code is None else code
        self.call.finish(code, escape_message(message, keep=b""), details, _encoded(trailers))

    def abort(self):
        self.call.abort(INTERNAL_ERROR)


def _encoded(entries):
    return [
        (key.encode(), encode_base64(value) if key.endswith("-bin") else value) for key, value in entries
    ]

"""Reference material: numbers and rules of router.proto that both ends of a tunnel share."""

import base64
import binascii
import re

REVISION = 1

# Flags of RpcCall (OPEN, HALF_CLOSE, RESET) and of RpcResponse (the others, and RESET).
OPEN, HALF_CLOSE, RESET = 1, 2, 4
HEAD, COMPLETE, REFUSED = 1, 2, 8

# HTTP/2 error codes.
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
REFUSED_STREAM, CANCEL = 7, 8

# gRPC status codes.
OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED = 0, 1, 2, 3, 4
ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = 6, 7, 8, 9
ABORTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 10, 12, 13, 14

# Section 14: defaults.
MAX_FRAME = 65_536
CALL_WINDOW = 81_920
MAX_CALLS = 10_000
MAX_METADATA = 16_384
HEARTBEAT_MS = 5_000
DATA_IN_FRAME = 16_384
HANDSHAKE_MS = 10_000
BREACHES, BREACH_SPAN_S = 64, 60.0
LATE_FRAMES = 64
MAX_CREDIT = 2**31 - 1

CONTENT_TYPE = b"application/grpc"

_HOP = {
    b"te",
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
    b"host",
    b"content-length",
    b"content-type",
    b"grpc-timeout",
}
_STATUS = {b"grpc-status", b"grpc-message", b"grpc-status-details-bin"}
_KEY = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
# HTTP's field values: no control characters but tab.
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
_METHOD = re.compile(r"/[^\x00-\x20\x7f]*\Z")


class Breach(Exception):
    """The peer broke a rule of one call: that call ends (section 13)."""

    def __init__(self, rule, code=PROTOCOL_ERROR, status=INTERNAL, reason="protocol-error"):
        super().__init__(rule)
        self.code, self.status, self.reason = code, status, reason


class Fault(Exception):
    """The peer broke a rule of the tunnel: the tunnel ends (section 13)."""


def allowed_key(key):
    return _KEY.match(key) is not None


def allowed_value(value):
    return _VALUE.match(value) is not None


def allowed_method(method):
    return _METHOD.match(method) is not None


def reserved(key, answer):
    """Whether section 9 keeps this header from travelling as metadata."""
    return key in _HOP or key.startswith(b"grpcrouter-") or (answer and key in _STATUS)


def list_size(entries):
    """The size of [(key, value)], as HTTP/2 counts it."""
    return sum(len(key) + len(value) + 32 for key, value in entries)


def read_metadata(entries, limit, answer):
    """The list of a received frame as [(key, value)] of bytes, without what is reserved."""
    result = []
    size = 0
    for entry in entries:
        key = entry.key.encode()
        size += len(key) + len(entry.value) + 32
        if size > limit:
            raise Breach("metadata too large", status=RESOURCE_EXHAUSTED, reason="limit")
        if not allowed_key(key) or not allowed_value(entry.value):
            raise Breach("metadata that HTTP does not allow")
        if not reserved(key, answer):
            result.append((key, entry.value))
    return result


def write_metadata(field, entries):
    for key, value in entries:
        field.add(key=key.decode("ascii"), value=value)


def decode_base64(text):
    """The bytes of base64, padded or not. None where it is not base64."""
    text = text.rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return None


def encode_base64(data):
    return base64.b64encode(data).rstrip(b"=")


def escape_message(message, keep=b"%"):
    """grpc-message by gRPC's rules. `keep` stays as it is: "%" of what is escaped already."""
    return b"".join(
        bytes([it]) if 0x20 <= it <= 0x7E and (it != 0x25 or it in keep) else b"%%%02X" % it
        for it in message
    )

"""Reference material: what is a call, and what is not, of the requests that come to the client port."""

import re

from protocol import (
    DEADLINE_EXCEEDED,
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    allowed_key,
    allowed_value,
    list_size,
    reserved,
)

PATH_MAX = 8_192
_PATH = re.compile(rb"/([^/%\x00-\x20\x7f-\xff]+)/([^/%\x00-\x20\x7f-\xff]+)\Z")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])\Z")
_UNIT_NS = {b"H": 3_600 * 10**9, b"M": 60 * 10**9, b"S": 10**9, b"m": 10**6, b"u": 10**3, b"n": 1}
_CONNECTION = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")


class Malformed(Exception):
    """No HTTP/2 request: the stream is reset with PROTOCOL_ERROR."""


class NotGrpc(Exception):
    """An HTTP request that is no call: answered with this HTTP status."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


class Refusal(Exception):
    """A call that is answered by the gateway itself."""

    def __init__(self, code, reason, message):
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


class Request:
    """The head of one call."""

    def __init__(self, headers, metadata_max):
        self.headers = list(headers)
        pseudo = self._check()
        if pseudo.get(b":method") != b"POST":
            raise NotGrpc(b"405")
        self.content_type = self._only(b"content-type") or b""
        plain = self.content_type.split(b";")[0].strip()
        if plain != b"application/grpc" and not plain.startswith(b"application/grpc+"):
            raise NotGrpc(b"415")
        path = pseudo.get(b":path", b"")
        match = _PATH.match(path) if len(path) <= PATH_MAX else None
        if match is None:
            raise Refusal(UNIMPLEMENTED, "bad-request", "the path names no method")
        self.service, self.method = match[1].decode(), path.decode()
        self.authority = self._authority(pseudo)
        self.timeout_s = self._timeout()
        wanted = [value for key, value in self.headers if key == b"grpcrouter-instance"]
        if len(wanted) > 1:
            raise Refusal(INVALID_ARGUMENT, "bad-key", "grpcrouter-instance more than once")
        self.instance = wanted[0].decode("latin-1") if wanted else None
        self.metadata = [
            (key, value)
            for key, value in self.headers
            if not key.startswith(b":") and not reserved(key, answer=False)
        ]
        if list_size(self.metadata) > metadata_max:
            raise Refusal(RESOURCE_EXHAUSTED, "limit", "the metadata is too large")

    def _check(self):
        pseudo = {}
        for index, (key, value) in enumerate(self.headers):
            if key.startswith(b":"):
                if key in pseudo or len(pseudo) != index or key == b":status":
                    raise Malformed(f"the pseudo header {key!r}")
                pseudo[key] = value
            elif not allowed_key(key) or not allowed_value(value):
                raise Malformed(f"the header {key!r}")
            elif key in _CONNECTION or (key == b"te" and value != b"trailers"):
                raise Malformed(f"{key!r} has no meaning in HTTP/2")
        if not {b":method", b":path", b":scheme"} <= pseudo.keys():
            raise Malformed("pseudo headers are missing")
        return pseudo

    def _only(self, name):
        values = [value for key, value in self.headers if key == name]
        if len(values) > 1:
            raise Refusal(INVALID_ARGUMENT, "bad-request", f"{name.decode()} more than once")
        return values[0] if values else None

    def _authority(self, pseudo):
        authority = pseudo.get(b":authority", self._only(b"host") or b"")
        try:
            return authority.decode()
        except UnicodeDecodeError:
            raise Malformed("the authority") from None

    def _timeout(self):
        text = self._only(b"grpc-timeout")
        if text is None:
            return None
        match = _TIMEOUT.match(text)
        if match is None:
            raise Refusal(INVALID_ARGUMENT, "bad-request", "grpc-timeout is malformed")
        timeout = int(match[1]) * _UNIT_NS[match[2]] / 1e9
        if timeout == 0:
            raise Refusal(DEADLINE_EXCEEDED, "deadline", "the time of the call is over")
        return timeout

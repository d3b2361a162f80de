"""Reference material: a program as a subject of the suite (subject.proto), which `--subject` makes it.

What is wanted is a message on the standard input, and is put in the place of flags; flags are the defaults. Another
message, on the standard output, says that the program is ready, or why it is not. The end of the standard input
asks it to end, as SIGTERM does.
"""

import asyncio
import sys

from google.protobuf.message import DecodeError

from protocol import MAX_CREDIT
from stubs import subject as messages

# The longest message.
LENGTH_MAX = 1024 * 1024

# Fields of SubjectSettings, and the flags that they stand in for.
OF_BOTH = {
    "call_window": "call_window",
    "max_metadata": "max_metadata",
    "message_max": "message_max",
    "max_calls": "max_calls",
    "drain_timeout_ms": "drain_timeout_ms",
    "handshake_timeout_ms": "handshake_timeout_ms",
}
OF_GATEWAY = OF_BOTH | {
    "client_window": "client_window",
    "heartbeat_ms": "heartbeat_ms",
    "max_streams": "max_streams",
    "preface_timeout_ms": "preface_timeout_ms",
    "client_keepalive_ms": "client_keepalive_ms",
    "max_connections": "max_connections",
}
OF_INSTANCE = OF_BOTH | {
    "backoff_ms": "backoff_first_ms",
    "backoff_max_ms": "backoff_max_ms",
}
# Fields of SubjectInstance; gateways, keys and labels are put differently as flags.
WHO = {"id": "id", "side": "side", "weight": "weight", "epoch_us": "epoch_us", "services": "service"}
# A window here does not grow, which keeps to any limit of how far it may.
FIXED = ["call_window_max"]


class Unready(Exception):
    """Why there is no subject: one line for people."""


def gateway(settings):
    """Puts what is wanted of a gateway into its settings. Gives the reply, but for what is known later."""
    request = _request(messages.GATEWAY)
    _settings(request.settings, settings, OF_GATEWAY)
    return _reply("reference gateway", [*OF_GATEWAY, *FIXED])


def instance(settings):
    """The same of an instance."""
    request = _request(messages.INSTANCE)
    _settings(request.settings, settings, OF_INSTANCE)
    wanted = request.instance
    if not wanted.id or not wanted.gateways:
        raise Unready("an instance needs an id and a gateway")
    _put(wanted, settings, WHO)
    settings.gateway = [f"http://{address}" for address in wanted.gateways]
    settings.key = list(wanted.keys) or settings.key
    settings.label = [f"{name}={value}" for name, value in wanted.labels.items()] or settings.label
    return _reply("reference instance", [*OF_INSTANCE, *FIXED, *WHO, "gateways", "keys", "labels"])


def answer(reply):
    """Says what became of the request."""
    data = reply.SerializeToString()
    sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
    sys.stdout.buffer.flush()


def refuse(why):
    answer(messages.SubjectReply(error=why))


async def closed():
    """Waits for the end of the standard input."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(LENGTH_MAX):
        pass


def _request(role):
    length = int.from_bytes(_exactly(4), "big")
    if length > LENGTH_MAX:
        raise Unready(f"a request of {length} bytes")
    try:
        request = messages.SubjectRequest.FromString(_exactly(length))
    except DecodeError:
        raise Unready("a request that does not decode") from None
    if request.role != role:
        raise Unready(f"this is a subject of the role {role}, not {request.role}")
    return request


def _exactly(size):
    data = sys.stdin.buffer.read(size)
    if len(data) < size:
        raise Unready("the standard input ended before the request")
    return data


def _settings(wanted, settings, flags):
    _put(wanted, settings, flags)
    for name in ("client_window", "call_window"):
        if getattr(settings, name, 0) > MAX_CREDIT:
            raise Unready(f"{name} is above 2^31 - 1")
    if 0 < wanted.call_window_max < settings.call_window:
        raise Unready("call_window_max is below call_window")


def _put(wanted, settings, flags):
    for field, flag in flags.items():
        value = getattr(wanted, field)
        if value:
            setattr(settings, flag, value)


def _reply(name, honoured):
    return messages.SubjectReply(name=name, version="1", honoured=honoured)

"""A plain grpcio client that checks one call after the other. It knows nothing of grpcrouter.

    check.py --target ADDR [--only NAME]...

Prints `ok   NAME` or `FAIL NAME: why` for each check; exits with 1 if any failed.
"""

import argparse
import asyncio
import sys
import time
import uuid

import grpc

from probe import UNLIMITED, messages, services

# No check may hang: past this it has failed. The slowest takes about three seconds.
CHECK_LIMIT_S = 60
# A handler must have heard of a cancellation by then.
NOTICE_LIMIT_MS = 5_000

MANY = 10_000
ROUNDS = 1_000
BIG = 16 * 1024 * 1024

CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


class Stub(services.ProbeStub):
    """The generated stub, for the checks that also need what is below it."""

    def __init__(self, channel, target):
        super().__init__(channel)
        self.channel = channel
        self.target = target


def equal(got, expected, what):
    if got != expected:
        raise AssertionError(f"{what}: expected {expected!r:.200}, got {got!r:.200}")


def true(condition, what):
    if not condition:
        raise AssertionError(what)


def numbered(count):
    return (messages.Message(number=number) for number in range(count))


def unique(what):
    return f"{what}-{uuid.uuid4()}"


async def failure(call):
    """The error with which a call ends."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call ended OK")


async def noted(stub, name, state):
    """Waits until the server's handler of this name is in this state."""
    query = messages.NoteQuery(name=name, state=state, limit_ms=NOTICE_LIMIT_MS)
    equal((await stub.Note(query)).state, state, "what the handler noted")


@check
async def unary(stub):
    for size in (0, 1, 65_536):
        sent = messages.Message(number=7, data=b"x" * size)
        equal(await stub.Unary(sent), sent, f"answer of {size} bytes")


@check
async def server_stream(stub):
    for count in (0, 1, MANY):
        got = [m.number async for m in stub.ServerStream(messages.Count(count=count))]
        equal(got, list(range(count)), f"{count} messages in order")


@check
async def client_stream(stub):
    for count in (0, 1, MANY):
        summary = await stub.ClientStream(numbered(count))
        equal(summary, messages.Summary(count=count, in_order=True), "what the handler read")


@check
async def bidi_empty(stub):
    call = stub.Bidi(numbered(0))
    equal([m async for m in call], [], "messages")
    equal(await call.code(), grpc.StatusCode.OK, "status")


@check
async def bidi_ping_pong(stub):
    call = stub.Bidi()
    for number in range(ROUNDS):
        await call.write(messages.Message(number=number))
        equal((await call.read()).number, number, "answer")
    await call.done_writing()
    equal(await call.read(), grpc.aio.EOF, "after the last")


@check
async def bidi_order(stub):
    got = [m.number async for m in stub.Bidi(numbered(MANY))]
    equal(got, list(range(MANY)), "messages in order")


@check
async def server_speaks_first(stub):
    call = stub.ServerFirst()
    equal((await call.read()).text, "first", "before the client sent anything")
    await call.write(messages.Message())
    await call.done_writing()
    equal((await call.read()).number, 1, "what the handler read")


@check
async def half_close(stub):
    call = stub.AfterHalfClose()
    for number in range(3):
        await call.write(messages.Message(number=number))
    # The last message is long, so that the end could overtake it if anything let it.
    await call.write(messages.Message(number=3, data=b"x" * 3_000_000))
    await call.done_writing()
    got = [m async for m in call]
    equal([m.number for m in got], [0, 1, 2, 3], "messages, after the end was seen")
    equal(len(got[3].data), 3_000_000, "the last one's length")


@check
async def early_finish(stub):
    # The handler answers after one message; the client would go on for ever. By grpcio's threaded
    # client: its asyncio one may report INTERNAL of its own when a write meets the end of the call.
    sent = 0

    def endless():
        nonlocal sent
        while True:
            yield messages.Message(number=sent, data=b"x" * 1_000)
            sent += 1

    def call():
        with grpc.insecure_channel(stub.target) as channel:
            # An answer that arrives is status OK: anything else raises.
            return services.ProbeStub(channel).EarlyFinish(endless(), timeout=CHECK_LIMIT_S / 2)

    equal((await asyncio.to_thread(call)).number, 0, "the answer")


METADATA = [
    ("ascii", "plain"),
    ("spaces", "a b  c"),
    ("odd", "~!@#$%^&*()_+{}|:\"<>?`-=[]\\;',./%41"),
    ("repeated", "1"),
    ("repeated", "2"),
    ("repeated", "1"),
    ("nul-bin", b"\x00\xff"),
    ("empty-bin", b""),
    ("one-bin", b"\x01"),
    ("two-bin", b"\x01\x02"),
    ("three-bin", b"\x01\x02\x03"),
    ("all-bin", bytes(range(256))),
    ("repeated-bin", b"\xff"),
    ("repeated-bin", b"\x00"),
]


@check
async def metadata(stub):
    def compare(prefix, got, expected, where):
        # Order and count matter within a key, not between keys.
        for key in sorted({k for k, _ in got + expected if k.startswith(prefix)}):
            values = [[v for k, v in pairs if k == key] for pairs in (got, expected)]
            equal(*values, f"{key} {where}")

    prefixes = ("echo-initial-", "echo-trailing-", "seen-")
    sent = [(prefix + key, value) for prefix in prefixes for key, value in METADATA]
    call = stub.EchoMetadata(messages.Message(), metadata=sent)
    initial = [(k, v) for k, v in await call.initial_metadata()]
    seen = [(pair.key, pair.value) for pair in (await call).pairs]
    trailing = [(k, v) for k, v in await call.trailing_metadata()]
    as_bytes = [(k, v if isinstance(v, bytes) else v.encode()) for k, v in sent]
    for prefix in prefixes:
        compare(prefix, seen, as_bytes, "at the handler")
    compare("echo-", initial, [p for p in sent if p[0].startswith("echo-initial-")], "as initial")
    compare("echo-", trailing, [p for p in sent if p[0].startswith("echo-trailing-")], "as trailing")


@check
async def status_codes(stub):
    for code in grpc.StatusCode:
        number = code.value[0]
        # 2,000 bytes: over a kilobyte, and not text.
        request = messages.Failure(
            code=number, message=f"code {number}", details=bytes(range(250)) * 8
        )
        call = stub.Fail(request)
        if number == 0:
            await call
        else:
            error = await failure(call)
            equal(error.details(), request.message, f"message of {code}")
        equal(await call.code(), code, "status")
        trailing = [(k, v) for k, v in await call.trailing_metadata()]
        kept = [v for k, v in trailing if k in ("kept", "kept-bin")]
        equal(kept, ["1", "2", b"\x00\xff"], f"trailers of {code}")
        details = [v for k, v in trailing if k == "grpc-status-details-bin"]
        equal(details, [request.details], f"details of {code}")
        mine = [k for k, _ in trailing if k.startswith("grpcrouter-")]
        equal(mine, [], "trailers that only a gateway's own status has")


@check
async def status_messages(stub):
    for text in ("", "ünïcode ☃ 𝄞", "\t\r\n% %41 100%", "x" * 4_096, "\u0000nul"):
        error = await failure(stub.Fail(messages.Failure(code=9, message=text)))
        equal(error.details(), text, "message")


@check
async def trailers_only(stub):
    call = stub.Fail(messages.Failure(code=5, message="nothing here"))
    error = await failure(call)
    equal(error.code(), grpc.StatusCode.NOT_FOUND, "status")
    equal(list(error.initial_metadata() or []), [], "initial metadata")


@check
async def error_after_messages(stub):
    call = stub.FailStream(messages.Failure(code=10, message="late", count=5))
    got = []
    try:
        async for message in call:
            got.append(message.number)
    except grpc.aio.AioRpcError as error:
        equal(error.details(), "late", "message")
    equal(got, [0, 1, 2, 3, 4], "messages before the error")
    equal(await call.code(), grpc.StatusCode.ABORTED, "status")


@check
async def unicode_and_empty_messages(stub):
    for text in ("", "ünïcode ☃ 𝄞\u0000"):
        equal((await stub.Unary(messages.Message(text=text))).text, text, "text")
    got = [m async for m in stub.Bidi(messages.Message() for _ in range(100))]
    equal(got, [messages.Message()] * 100, "messages of no bytes")


@check
async def unknown_method(stub):
    call = stub.channel.unary_unary("/probe.v1.Probe/Nothing")(b"")
    equal((await failure(call)).code(), grpc.StatusCode.UNIMPLEMENTED, "status")


@check
async def big_message(stub):
    block = bytes(range(256))
    sent = messages.Message(data=block * (BIG // len(block)))
    got = await stub.Unary(sent)
    # Compared without printing 16 MiB.
    true(got.data == sent.data, f"16 MiB came back as {len(got.data)} bytes or other ones")


@check
async def remaining_time(stub):
    none = await stub.Remaining(messages.Message())
    true(none.seconds < 0 or none.seconds > 1e6, f"no deadline became {none.seconds} s")
    left = (await stub.Remaining(messages.Message(), timeout=20)).seconds
    # grpcio rounds a timeout up before it sends it, by less than a hundredth here.
    true(15 < left < 20.2, f"of 20 s the handler sees {left}")


@check
async def deadline(stub):
    name, timeout_s = unique("deadline"), 0.5
    started = time.monotonic()
    error = await failure(stub.Hold(messages.Message(text=name), timeout=timeout_s))
    took_s = time.monotonic() - started
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, "status")
    # grpcio ends the call itself at its deadline; a second more is the allowance for a busy machine.
    true(timeout_s * 0.9 < took_s < timeout_s + 1, f"a deadline of {timeout_s} s took {took_s} s")
    await noted(stub, name, "cancelled")


@check
async def cancel(stub):
    name = unique("cancel")
    call = stub.Hold(messages.Message(text=name))
    await noted(stub, name, "started")
    call.cancel()
    equal(await call.code(), grpc.StatusCode.CANCELLED, "status")
    await noted(stub, name, "cancelled")


@check
async def cancel_stream(stub):
    name = unique("cancel-stream")
    call = stub.HoldStream(messages.Message(text=name))
    equal((await call.read()).text, name, "the first message")
    await noted(stub, name, "started")
    call.cancel()
    await noted(stub, name, "cancelled")


async def run(target, names):
    failed = 0
    async with grpc.aio.insecure_channel(target, options=UNLIMITED) as channel:
        stub = Stub(channel, target)
        for name in names:
            try:
                await asyncio.wait_for(CHECKS[name](stub), CHECK_LIMIT_S)
                print(f"ok   {name}", flush=True)
            except asyncio.TimeoutError:
                failed += 1
                print(f"FAIL {name}: not done after {CHECK_LIMIT_S} s", flush=True)
            except grpc.RpcError as error:
                failed += 1
                why = f"ended {error.code().name}: {error.details()}"
                print(f"FAIL {name}: {why} {list(error.trailing_metadata() or [])}", flush=True)
            except Exception as error:
                # Whatever a check trips over must not hide the checks after it.
                failed += 1
                print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, metavar="ADDR")
    parser.add_argument("--only", action="append", choices=CHECKS, metavar="NAME")
    args = parser.parse_args()
    sys.exit(1 if asyncio.run(run(args.target, args.only or list(CHECKS))) else 0)


if __name__ == "__main__":
    main()

"""A plain grpcio server for the checks. It knows nothing of grpcrouter.

    server.py --listen 127.0.0.1:0 [--reflection]

Prints `ready listen=ADDR` once it listens, and ends on SIGTERM.
"""

import argparse
import asyncio
import collections
import signal

import grpc
from grpc_reflection.v1alpha import reflection

from probe import SERVICE, UNLIMITED, messages, services

CODES = {code.value[0]: code for code in grpc.StatusCode}


class Notes:
    """How far each Hold got: started, then cancelled. Others can wait for it."""

    def __init__(self):
        self.states = {}
        self.changed = asyncio.Condition()

    async def set(self, name, state):
        async with self.changed:
            self.states[name] = state
            self.changed.notify_all()

    async def wait(self, name, state, limit_s):
        async with self.changed:
            reached = self.changed.wait_for(lambda: self.states.get(name) == state)
            try:
                await asyncio.wait_for(reached, limit_s)
            except asyncio.TimeoutError:
                pass
            return self.states.get(name, "unknown")


class Probe(services.ProbeServicer):
    def __init__(self):
        self.notes = Notes()
        self.runs = collections.Counter()
        self.running = 0

    async def Unary(self, request, context):
        return request

    async def ServerStream(self, request, context):
        for number in range(request.count):
            yield messages.Message(number=number)

    async def ClientStream(self, requests, context):
        summary = messages.Summary(in_order=True)
        async for message in requests:
            summary.in_order &= message.number == summary.count
            summary.count += 1
            summary.bytes += len(message.data)
        return summary

    async def Bidi(self, requests, context):
        async for message in requests:
            yield message

    async def AfterHalfClose(self, requests, context):
        read = [message async for message in requests]
        for message in read:
            yield message

    async def ServerFirst(self, requests, context):
        yield messages.Message(text="first")
        count = 0
        async for _ in requests:
            count += 1
        yield messages.Message(number=count, text="last")

    async def EarlyFinish(self, requests, context):
        async for message in requests:
            return message

    async def EchoMetadata(self, request, context):
        pairs = [(key, value) for key, value in context.invocation_metadata()]
        await context.send_initial_metadata(
            [pair for pair in pairs if pair[0].startswith("echo-initial-")]
        )
        context.set_trailing_metadata(
            [pair for pair in pairs if pair[0].startswith("echo-trailing-")]
        )
        encoded = [(k, v if isinstance(v, bytes) else v.encode()) for k, v in pairs]
        return messages.Pairs(pairs=[messages.Pair(key=k, value=v) for k, v in encoded])

    async def Fail(self, request, context):
        await self.end(request, context)
        return messages.Message()

    async def FailStream(self, request, context):
        for number in range(request.count):
            yield messages.Message(number=number)
        await self.end(request, context)

    async def end(self, request, context):
        trailers = [("kept", "1"), ("kept", "2"), ("kept-bin", b"\x00\xff")]
        if request.details:
            trailers.append(("grpc-status-details-bin", request.details))
        if request.code == 0:
            context.set_trailing_metadata(trailers)
        else:
            await context.abort(CODES[request.code], request.message, tuple(trailers))

    async def Hold(self, request, context):
        await self.hold(request.text)
        return request

    async def HoldStream(self, request, context):
        yield request
        await self.hold(request.text)

    async def hold(self, name):
        await self.notes.set(name, "started")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # Another task writes it down: this one is being torn down.
            asyncio.get_running_loop().create_task(self.notes.set(name, "cancelled"))
            raise

    async def Note(self, request, context):
        state = await self.notes.wait(request.name, request.state, request.limit_ms / 1000)
        return messages.NoteAnswer(state=state)

    async def Remaining(self, request, context):
        left = context.time_remaining()
        return messages.Time(seconds=-1 if left is None else left)

    async def Work(self, request, context):
        self.runs[request.nonce] += 1
        self.running += 1
        try:
            await asyncio.sleep(request.hold_ms / 1000)
            return messages.Message(text=request.nonce)
        finally:
            self.running -= 1

    async def Jobs(self, request, context):
        return messages.JobLog(
            nonces=len(self.runs),
            runs=self.runs.total(),
            most_runs_of_a_nonce=max(self.runs.values(), default=0),
            running=self.running,
        )


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="ADDR")
    parser.add_argument("--reflection", action="store_true", help="offer gRPC reflection")
    args = parser.parse_args()

    server = grpc.aio.server(options=UNLIMITED + [("grpc.so_reuseport", 0)])
    services.add_ProbeServicer_to_server(Probe(), server)
    if args.reflection:
        reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), server)
    port = server.add_insecure_port(args.listen)
    await server.start()
    print(f"ready listen={args.listen.rpartition(':')[0]}:{port}", flush=True)

    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await stop.wait()
    await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(main())

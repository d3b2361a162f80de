"""Reference material: the probe's handler, which obeys a script (probe.proto). Knows no transport.

A transport is an object with
    method, authority, metadata [(key, bytes)] as on the wire, timeout_us or None
    sent_bytes()            accepted of what was sent, prefixes included
    on_sent                 called when that grows
    async read()            the next (flag, message); None at the end
    async head(entries)     entries are [(key, bytes)], -bin not encoded
    async send(flag, message)   returns when the transport can take another
    finish(code, message, details, trailers)     code None: without a status
    abort()
"""

import asyncio
import base64
import collections
import re
import zlib

from google.protobuf.message import DecodeError

from protocol import INVALID_ARGUMENT, decode_base64
from stubs import probe

KEPT = 16_384
PREFIX = 5
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")


# Bytes 256 * k to 256 * k + 255 of a message depend on the sum of its number and k alone.
_ROWS = [bytes((start + 7 * j) & 0xFF for j in range(256)) for start in range(256)]


def make(number, size):
    """Message number `number` of `size` bytes: section 2."""
    data = bytearray().join(_ROWS[(number + k) & 0xFF] for k in range(-(-size // 256)))
    del data[size:]
    if size >= 4:
        data[:4] = (number & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


class Over(Exception):
    """Finish or Abort: no step follows."""


class Refused(Exception):
    """The call ends with this status, though no step said so."""

    def __init__(self, code, message):
        self.code, self.message = code, message


class Run:
    """One run of a call's handler, its counters and what it has told of them."""

    def __init__(self, side, io, call, number):
        self.side, self.io, self.call, self.number = side, io, call, number
        self.taken = [0, 0]
        self.crc = 0
        self.half_closed = self.ended = self.told_later = False
        self.given = collections.deque()  # sizes of messages that have not left
        self.left = [0, 0, 0]  # messages, their bytes, their bytes with prefixes

    def begin(self):
        metadata = [[key, base64.b64encode(value).decode()] for key, value in self.io.metadata]
        self._event(
            "started",
            method=self.io.method,
            authority=self.io.authority or "",
            metadata=metadata,
            timeout_us=self.io.timeout_us,
        )

    def changed(self):
        """Counters have changed: they are told at the end of this turn."""
        if not self.told_later and not self.ended:
            self.told_later = True
            asyncio.get_running_loop().call_soon(self._counts)

    def event(self, name, **members):
        self._counts()
        self._event(name, **members)

    def end(self, name, **members):
        if not self.ended:
            self.event(name, **members)
            self.ended = True

    def _counts(self):
        if not self.told_later or self.ended:
            return
        self.told_later = False
        self._event(
            "counts",
            handed=self.taken,
            taken=self.taken,
            sent=self._sent(),
            crc=self.crc,
            half_closed=self.half_closed,
        )

    def _sent(self):
        accepted = self.io.sent_bytes()
        while self.given and self.left[2] + PREFIX + self.given[0] <= accepted:
            size = self.given.popleft()
            self.left = [self.left[0] + 1, self.left[1] + size, self.left[2] + PREFIX + size]
        partly = max(0, accepted - self.left[2] - PREFIX)
        return [self.left[0], self.left[1] + partly]

    def _event(self, name, **members):
        if not self.ended:
            self.side.event(name, call=self.call, run=self.number, **members)


class Probe:
    """All calls of one instance."""

    def __init__(self, side, lie=False):
        self.side, self.lie = side, lie
        self.numbers = collections.OrderedDict()  # call: how many runs began
        self.gates = collections.OrderedDict()  # (call, gate): Event

    async def __call__(self, io):
        metadata = dict(io.metadata)
        name = metadata.get("probe-call", b"")
        script = self._script(metadata.get("probe-script-bin"))
        if not _NAME.match(name) or script is None:
            io.finish(INVALID_ARGUMENT, b"no probe-call or no probe-script-bin", b"", [])
            return
        call = name.decode()
        number = self.numbers[call] = self.numbers.get(call, 0) + 1
        while len(self.numbers) > KEPT:
            self.numbers.popitem(last=False)
        run = Run(self.side, io, call, number)
        io.on_sent = run.changed
        run.begin()
        try:
            await self._run(run, script)
        except asyncio.CancelledError:
            run.end("cancelled")
            raise

    async def _run(self, run, script):
        try:
            for step in script.steps:
                kind = step.WhichOneof("step")
                if kind is not None:
                    await getattr(self, f"_{kind}")(run, getattr(step, kind))
            await self._finish(run, probe.Finish())
        except Over:
            pass
        except Refused as refused:
            run.io.finish(refused.code, refused.message.encode(), b"", [])
            run.end("finished", code=refused.code)

    @staticmethod
    def _script(encoded):
        decoded = None if encoded is None else decode_base64(encoded)
        if decoded is None:
            return None
        try:
            return probe.Script.FromString(decoded)
        except DecodeError:
            return None

    # The steps.

    async def _head(self, run, step):
        await run.io.head([(it.key, it.value) for it in step.metadata])

    async def _read(self, run, step):
        if self.lie:
            messages = step.messages or 1
            run.taken = [run.taken[0] + messages, run.taken[1] + 1_024 * messages]
            run.changed()
            return
        count = 0
        while step.messages == 0 or count < step.messages:
            if await self._take(run) is None:
                return
            count += 1

    async def _wait(self, run, step):
        run.event("waiting", gate=step.gate)
        await self._gate(run.call, step.gate).wait()

    async def _send(self, run, step):
        for number in range(step.first, step.first + step.count):
            await self._answer(run, 0, make(number, step.size))

    async def _echo(self, run, step):
        count = 0
        while step.messages == 0 or count < step.messages:
            item = await self._take(run)
            if item is None:
                return
            count += 1
            await self._answer(run, *item)

    async def _sleep(self, run, step):
        await asyncio.sleep(step.ms / 1000)

    async def _finish(self, run, step):
        trailers = [(it.key, it.value) for it in step.trailers]
        code = None if step.without_status else step.code
        run.io.finish(code, step.message.encode(), step.details, trailers)
        run.end("finished", code=2 if code is None else code)
        raise Over

    async def _abort(self, run, step):
        run.ended = True
        run.io.abort()
        raise Over

    # What steps share.

    async def _take(self, run):
        """The next request message, with its flag; None at the end."""
        item = await run.io.read()
        if item is None:
            run.half_closed = True
        else:
            run.taken = [run.taken[0] + 1, run.taken[1] + len(item[1])]
            run.crc = zlib.crc32(item[1], run.crc)
        run.changed()
        return item

    async def _answer(self, run, flag, message):
        run.given.append(len(message))
        await run.io.send(flag, message)

    def _gate(self, call, gate):
        event = self.gates.setdefault((call, gate), asyncio.Event())
        while len(self.gates) > KEPT:
            self.gates.popitem(last=False)
        return event

    def command(self, command):
        call, gate = command.get("call"), command.get("gate")
        if command.get("do") == "release" and isinstance(call, str) and isinstance(gate, str):
            self._gate(call, gate).set()

"""Reference material: the instance's end of the side channel (probe.proto, section 3)."""

import asyncio
import json
import logging

log = logging.getLogger("side")

LINE_MAX = 1024 * 1024
QUEUE_MAX = 16 * 1024 * 1024


class SideFailed(Exception):
    """The suite is not there, went away, or does not read."""


class Side:
    """Events out, commands in. Without `connect` it drops what it is told."""

    def __init__(self, instance_id, command):
        self.instance_id = instance_id
        self.command = command
        self.reader = self.writer = None
        self.failed = None

    async def connect(self, address):
        host, port = address.rsplit(":", 1)
        self.failed = asyncio.Event()
        try:
            self.reader, self.writer = await asyncio.open_connection(host, int(port), limit=LINE_MAX)
        except (OSError, ValueError) as error:
            raise SideFailed(f"the side channel {address} cannot be dialled: {error}") from None
        self.event("hello", instance=self.instance_id)

    async def run(self):
        """Reads commands. Returns the exit code 6 once the connection has failed."""
        reading = asyncio.create_task(self._read())
        failing = asyncio.create_task(self.failed.wait())
        await asyncio.wait([reading, failing], return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        failing.cancel()
        return 6

    async def _read(self):
        try:
            while line := await self.reader.readline():
                try:
                    command = json.loads(line)
                except ValueError:
                    log.warning("a command that is no JSON")
                    continue
                if isinstance(command, dict):
                    self.command(command)
            log.error("the side channel has ended")
        except (OSError, ValueError) as error:
            log.error("the side channel failed: %s", error)

    def event(self, name, **members):
        if self.writer is None or self.failed.is_set():
            return
        members = {"event": name, **members}
        self.writer.write(json.dumps(members, separators=(",", ":")).encode() + b"\n")
        if self.writer.transport.get_write_buffer_size() > QUEUE_MAX:
            log.error("the suite does not read the side channel")
            self.failed.set()

    async def close(self):
        """Lets what waits go out, for at most a second."""
        if self.writer is None:
            return
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), 1)
        except (OSError, asyncio.TimeoutError):
            pass

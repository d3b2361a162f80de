"""Reference material: an independent instance that hosts the probe service, on grpcio.

    instance.py --gateway http://HOST:PORT --id ID [--side HOST:PORT] [settings]
    instance.py --subject [settings]

Written from the comments of router.proto and probe.proto alone, to show that they are enough; it is for reading and
for testing gateways, not for service. Prints `ready id=ID gateway=URL` once it is registered with every gateway. With
--subject it reads settings and who it is as subject.proto has them, and replies once it dials. Logs go to stderr.
SIGTERM drains it. Exit codes: 0 ended as asked, 2 wrong usage, 3 superseded, 4 refused for good, 5 calls were still
running when draining had to end, 6 the side channel failed.
"""

import argparse
import asyncio
import logging
import random
import signal
import sys
import time

import subject
from instance_tunnel import Tunnel, announced_descriptors
from probe_handler import Probe
from protocol import CALL_WINDOW, HANDSHAKE_MS, MAX_CALLS, MAX_FRAME, MAX_METADATA, REVISION
from side_channel import Side, SideFailed
from stubs import PROBE_SERVICE, router
from tunnel_probe import TunnelProbe

log = logging.getLogger("instance")

# Refused by these, a person must change something (section 12).
FINAL = {"bad-registration", "revision", "identity"}


class Session:
    """One gateway: dials, serves, and dials again, until it is told not to."""

    def __init__(self, instance, gateway):
        self.instance = instance
        self.settings = instance.settings
        self.gateway = gateway
        self.attempt = 0
        self.tunnels = set()
        self.first_registration = asyncio.Event()
        self.interval_s = None

    async def run(self):
        failures = 0
        while True:
            tunnel = Tunnel(
                self.settings, self.gateway, self._info(), self.instance.handler, self._registered
            )
            self.tunnels.add(tunnel)
            running = asyncio.create_task(self._run(tunnel))
            drains = asyncio.create_task(tunnel.gateway_drains.wait())
            await asyncio.wait([running, drains], return_when=asyncio.FIRST_COMPLETED)
            drains.cancel()
            # A gateway that registers and drops at once is no better than one that does not answer.
            if tunnel.lived():
                failures = 0
            if self.instance.stopping.is_set():
                await running
                return 0
            wait = random.uniform(0, self._bound(failures))
            failures += 1
            if running.done():
                reason = getattr(tunnel.outcome, "reason", "")
                if reason == "superseded":
                    return 3
                if reason in FINAL:
                    return 4
                if reason == "stale-epoch":
                    wait = 2 * (self.interval_s or 5.0)
            # A tunnel that its gateway drains finishes its calls beside the next one.
            await self.instance.pause(wait)
            if self.instance.stopping.is_set():
                await asyncio.gather(running, return_exceptions=True)
                return 0

    def _bound(self, failures):
        first, limit = self.settings.backoff_first_ms, self.settings.backoff_max_ms
        return min(limit, first * 2 ** min(failures, 30)) / 1000

    async def _run(self, tunnel):
        try:
            await tunnel.run()
        finally:
            self.tunnels.discard(tunnel)
            reason = getattr(tunnel.outcome, "reason", tunnel.outcome)
            message = getattr(tunnel.outcome, "message", "")
            log.info("tunnel to %s ended: %s %s", self.gateway, reason, message)

    def _registered(self, tunnel):
        self.interval_s = tunnel.ack.heartbeat_interval_ms / 1000
        log.info("registered with %s (%s)", self.gateway, tunnel.ack.gateway_id)
        self.first_registration.set()
        if self.instance.stopping.is_set():
            tunnel.unregister("the instance ends")

    def _info(self):
        settings = self.settings
        epoch = router.Epoch(started_us=self.instance.started_us, attempt=self.attempt)
        self.attempt += 1
        services = self.instance.health.items()
        return router.InstanceInfo(
            instance_id=settings.id,
            epoch=epoch,
            services=[router.ServiceInfo(name=name, health=health) for name, health in services],
            keys=settings.key,
            labels=dict(it.split("=", 1) for it in settings.label),
            weight=settings.weight,
            version="reference",
            revisions=router.Revisions(min=REVISION, max=REVISION),
            call_window=settings.call_window,
            max_frame=settings.max_frame,
            max_calls=settings.max_calls,
            max_metadata=settings.max_metadata,
            descriptors=None if settings.no_descriptors else announced_descriptors(),
        )


class Instance:
    def __init__(self, settings):
        self.settings = settings
        self.started_us = settings.epoch_us or time.time_ns() // 1000
        self.stopping = asyncio.Event()
        names = settings.service or [PROBE_SERVICE]
        self.health = {name: router.HEALTHY for name in names}
        self.side = Side(settings.id, self._command)
        self.probe = Probe(self.side, lie=settings.lie)
        self.handler = TunnelProbe(self.probe, settings.message_max)
        self.sessions = [Session(self, gateway) for gateway in settings.gateway]

    async def run(self, reply=None):
        """Runs until it is asked to end: the exit code. A subject has a reply to give, once it dials."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        others = []
        if self.settings.side:
            await self.side.connect(self.settings.side)
            others.append(asyncio.create_task(self.side.run()))
        work = [asyncio.create_task(it.run()) for it in self.sessions]
        ready = self._ready() if reply is None else self._subject(reply)
        others += [asyncio.create_task(self._drain()), asyncio.create_task(ready)]
        try:
            code = await self._first_code(work, others)
            self.side.event("ended", code=code)
            return code
        finally:
            for task in [*work, *others]:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await self.side.close()

    @staticmethod
    async def _first_code(work, others):
        """The first exit code that is not 0, or 0 once all work is done."""
        while not all(it.done() for it in work):
            running = [it for it in [*work, *others] if not it.done()]
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for code in (it.result() for it in [*work, *others] if it.done()):
                if code:
                    return code
        return 0

    async def _ready(self):
        for session in self.sessions:
            await session.first_registration.wait()
        print(f"ready id={self.settings.id} gateway={','.join(self.settings.gateway)}", flush=True)

    async def _subject(self, reply):
        subject.answer(reply)
        await subject.closed()
        self.stopping.set()

    async def _drain(self):
        """Unregisters when it is time; a code where calls still run after that."""
        await self.stopping.wait()
        self.side.event("draining")
        for tunnel in [tunnel for session in self.sessions for tunnel in session.tunnels]:
            tunnel.unregister("the instance ends")
        await asyncio.sleep(self.settings.drain_timeout_ms / 1000)
        return 5

    async def pause(self, seconds):
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except asyncio.TimeoutError:
            pass

    def _command(self, command):
        if command.get("do") == "drain":
            self.stopping.set()
        else:
            self.probe.command(command)


def arguments():
    parser = argparse.ArgumentParser(description="Reference material: an independent instance.")
    parser.add_argument("--gateway", action="append", default=[], help="http://HOST:PORT; repeatable")
    parser.add_argument("--id")
    parser.add_argument("--side", help="HOST:PORT of the suite's side channel")
    parser.add_argument("--service", action="append", default=[], help="instead of the probe's; repeatable")
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("--label", action="append", default=[], help="NAME=VALUE")
    parser.add_argument("--weight", type=int, default=1)
    parser.add_argument("--epoch-us", type=int, default=0, help="of the first epoch; 0: the time of the start")
    parser.add_argument("--call-window", type=int, default=CALL_WINDOW)
    parser.add_argument("--max-frame", type=int, default=MAX_FRAME)
    parser.add_argument("--max-calls", type=int, default=MAX_CALLS)
    parser.add_argument("--max-metadata", type=int, default=MAX_METADATA)
    parser.add_argument("--message-max", type=int, default=64 * 1024 * 1024, help="longest message, bytes")
    parser.add_argument("--backoff-first-ms", type=int, default=100)
    parser.add_argument("--backoff-max-ms", type=int, default=10_000)
    parser.add_argument("--handshake-timeout-ms", type=int, default=HANDSHAKE_MS)
    parser.add_argument("--drain-timeout-ms", type=int, default=30_000)
    parser.add_argument("--no-descriptors", action="store_true", help="announce no descriptors")
    parser.add_argument("--shuffle-fields", action="store_true", help="encode fields in another order")
    parser.add_argument("--lie", action="store_true", help="claim to have taken what was not read")
    parser.add_argument("--subject", action="store_true", help="read settings as subject.proto says")
    settings = parser.parse_args()
    if not settings.subject and not (settings.gateway and settings.id):
        parser.error("--gateway and --id are needed, or --subject")
    return settings


async def main():
    settings = arguments()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    reply = None
    try:
        reply = subject.instance(settings) if settings.subject else None
        return await Instance(settings).run(reply)
    except subject.Unready as error:
        subject.refuse(str(error))
        return 2
    except SideFailed as error:
        log.error("%s", error)
        if reply is not None:
            subject.refuse(str(error))
        return 6


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

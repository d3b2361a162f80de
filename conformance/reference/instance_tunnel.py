"""Reference material: one tunnel, as the instance sees it, from InstanceInfo to its end."""

import asyncio
import hashlib
import itertools
import logging

import grpc
from grpc import aio

import wire
from instance_call import InstanceCall
from late import Breaches, Ended
from outgoing import Lanes
from protocol import (
    CALL_WINDOW,
    DATA_IN_FRAME,
    HEARTBEAT_MS,
    MAX_FRAME,
    MAX_METADATA,
    OPEN,
    PROTOCOL_ERROR,
    REFUSED,
    REFUSED_STREAM,
    Breach,
    Fault,
)
from stubs import PROBE_DESCRIPTORS, REGISTER, router

log = logging.getLogger("tunnel")

# A tunnel is always read; this is how much may be under way to us below gRPC.
TRANSPORT_WINDOW = 4 * 1024 * 1024


class Tunnel:
    """Dials once and runs until the stream ends. `outcome` says how: an ErrorResponse, or a text."""

    def __init__(self, settings, gateway, info, handler, registered):
        self.settings = settings
        self.gateway = gateway
        self.info = info
        self.handler = handler
        self.registered = registered
        self.call_window = settings.call_window
        self.max_metadata = settings.max_metadata
        self.max_frame = MAX_FRAME
        self.metadata_to_send = settings.max_metadata
        self.ack = None
        self.calls = {}
        self.ended = Ended(4 * settings.max_calls)
        self.wake = asyncio.Event()
        self.lanes = Lanes(self.wake.set)
        self.idle = asyncio.Event()
        self.idle.set()
        self.draining = self.drained = self.closing = False
        self.gateway_drains = asyncio.Event()
        self.handed_descriptors = False
        self.nonces = itertools.count(1)
        self.heard = 0.0
        self.since = None
        self.stream = self.handshake = None
        self.outcome = "not connected"

    async def run(self):
        loop = asyncio.get_running_loop()
        self.breaches = Breaches(loop.time)
        options = [
            ("grpc.max_receive_message_length", self.settings.max_frame),
            ("grpc.max_send_message_length", -1),
            ("grpc.http2.lookahead_bytes", TRANSPORT_WINDOW),
            ("grpc.http2.write_buffer_size", DATA_IN_FRAME),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        ]
        channel = aio.insecure_channel(self.gateway.removeprefix("http://"), options=options)
        tasks = []
        try:
            register = channel.stream_stream(
                REGISTER,
                request_serializer=lambda it: wire.encode(it, self.settings.shuffle_fields),
                response_deserializer=router.RegisterResponse.FromString,
            )
            self.stream = register()
            self.handshake = loop.create_task(self._handshake())
            if not await self.handshake:
                return
            tasks = [loop.create_task(self._write()), loop.create_task(self._beat())]
            await self._read()
        except Fault as fault:
            self.outcome = f"the gateway is at fault: {fault}"
        except aio.AioRpcError as error:
            if not isinstance(self.outcome, router.ErrorResponse):
                self.outcome = f"the stream failed: {error.details()}"
        except (asyncio.InvalidStateError, asyncio.TimeoutError):
            self.outcome = "the gateway did not answer"
        except asyncio.CancelledError:
            # grpcio says so of a stream that this side has cancelled, too.
            ours = [it for it in (self.stream, self.handshake) if it is not None and it.cancelled()]
            if not ours:
                raise
        finally:
            for task in tasks:
                task.cancel()
            # Before the calls, so that nothing of them is still sent.
            if self.stream is not None:
                self.stream.cancel()
            for call in list(self.calls.values()):
                call.over = True
                call.cancel("tunnel-lost")
            await channel.close()

    def lived(self):
        """Whether it was registered for at least one heartbeat interval."""
        if self.since is None:
            return False
        age = asyncio.get_running_loop().time() - self.since
        return age >= self.ack.heartbeat_interval_ms / 1000

    async def _handshake(self):
        await self.stream.write(router.RegisterRequest(instance_info=self.info))
        patience = self.settings.handshake_timeout_ms / 1000
        first = await asyncio.wait_for(self.stream.read(), patience)
        kind = first.WhichOneof("frame") if first is not aio.EOF else None
        if kind == "error":
            self.outcome = first.error
            return False
        if kind != "ack":
            self.outcome = f"the first frame is {kind}"
            return False
        ack = first.ack
        ack.call_window = ack.call_window or CALL_WINDOW
        ack.heartbeat_interval_ms = ack.heartbeat_interval_ms or HEARTBEAT_MS
        self.ack = ack
        self.max_frame = ack.max_frame or MAX_FRAME
        self.metadata_to_send = min(self.max_metadata, ack.max_metadata or MAX_METADATA)
        self.heard = self.since = asyncio.get_running_loop().time()
        self.outcome = "the gateway ended the stream"
        self.registered(self)
        return True

    async def _write(self):
        # grpcio takes the next message once HTTP/2 took the one before.
        try:
            while True:
                frame = self.lanes.next()
                if frame is not None:
                    if isinstance(frame, router.RpcResponse):
                        frame = router.RegisterRequest(rpc_response=frame)
                    await self.stream.write(frame)
                    continue
                if self.closing and not self.calls:
                    await self.stream.done_writing()
                    return
                self.wake.clear()
                await self.wake.wait()
        except (aio.AioRpcError, asyncio.InvalidStateError):
            pass  # The reader sees why.
        except Exception:
            log.exception("a defect of the writer")
            self.stream.cancel()

    async def _read(self):
        while True:
            frame = await self.stream.read()
            if frame is aio.EOF:
                code = await self.stream.code()
                if code != grpc.StatusCode.OK and not isinstance(self.outcome, router.ErrorResponse):
                    self.outcome = f"the stream ended with {code}"
                return
            self.heard = asyncio.get_running_loop().time()
            kind = frame.WhichOneof("frame")
            if kind == "rpc_call":
                self._call(frame.rpc_call)
            elif kind == "heartbeat":
                self._heartbeat(frame.heartbeat)
            elif kind == "drain":
                self._drain(frame.drain)
            elif kind == "error":
                self.outcome = frame.error
            elif kind == "ack":
                raise Fault("a second RegistrationAck")
            elif kind == "descriptor_request":
                self._hand_descriptors()

    async def _beat(self):
        loop = asyncio.get_running_loop()
        interval = self.ack.heartbeat_interval_ms / 1000
        while True:
            await asyncio.sleep(interval)
            if loop.time() - self.heard >= 2 * interval:
                self.outcome = "nothing was received for two heartbeat intervals"
                self.stream.cancel()
                return
            # One question at a time waits; the next is as good.
            if not any(it.heartbeat.nonce for it in self.lanes.control):
                self.heartbeat(nonce=next(self.nonces))

    def heartbeat(self, **fields):
        self.lanes.put(router.RegisterRequest(heartbeat=router.Heartbeat(**fields)))

    def _heartbeat(self, heartbeat):
        if heartbeat.nonce:
            for waiting in list(self.lanes.control):
                if waiting.heartbeat.reply_to:
                    self.lanes.control.remove(waiting)
            self.heartbeat(reply_to=heartbeat.nonce)

    def _drain(self, drain):
        if drain.answer:
            self.drained = True
            self._close_when_idle()
        else:
            self.gateway_drains.set()
            self.draining = True
            self._close_when_idle()

    def _close_when_idle(self):
        self.closing = True
        self.wake.set()

    def unregister(self, reason):
        """Takes no more calls, once the gateway knows. Before it is registered there is nothing to say."""
        if self.ack is None:
            # Not the stream: grpcio never ends a write to one that is cancelled while it connects.
            if self.handshake is not None:
                self.handshake.cancel()
        elif not self.draining:
            self.draining = True
            message = router.UnregisterRequest(reason=reason)
            self.lanes.put(router.RegisterRequest(unregister=message))

    def _call(self, frame):
        call = self.calls.get(frame.request_id)
        if call is not None:
            if frame.flags & OPEN:
                raise Fault("OPEN for an id that is in use")
            try:
                call.receive(frame)
            except Breach as breach:
                call.cancel("reset")
                call.reset = (breach.code, 0)
                self.lanes.mark(call)
                self.forget(call)
                self._breach(breach)
        elif frame.flags & OPEN and frame.request_id not in self.ended.calls:
            self._open(frame)
        elif not self.ended.tolerates(frame.request_id, len(frame.data)):
            # The other side may not know this id: a RESET would be one breach more.
            self._breach(Breach("a frame of no call"))

    def _open(self, frame):
        call = InstanceCall(self, frame.request_id)
        if self.drained or len(self.calls) >= self.settings.max_calls:
            call.refuse(REFUSED_STREAM, REFUSED)
            self.ended.remember(call.id, self.call_window)
            return
        try:
            call.open(frame)
        except Breach as breach:
            call.refuse(breach.code or PROTOCOL_ERROR, 0)
            self.ended.remember(call.id, self.call_window)
            self._breach(breach)
            return
        self.calls[call.id] = call
        self.idle.clear()
        call.task = asyncio.get_running_loop().create_task(self.handler(call))

    def _breach(self, breach):
        log.warning("breach by the gateway: %s", breach)
        self.breaches.count(breach)

    def forget(self, call):
        """The call is over on this side."""
        if call.timer is not None:
            call.timer.cancel()
        if self.calls.get(call.id) is call:
            del self.calls[call.id]
            self.ended.remember(call.id, call.receiver.credit, call.ended_by_peer)
        if not self.calls:
            self.idle.set()
            self.wake.set()

    def _hand_descriptors(self):
        # Asked at most once. One chunk in the lanes at a time is not kept to: the set of the probe is one.
        if self.handed_descriptors or not self.info.HasField("descriptors"):
            return
        self.handed_descriptors = True
        for offset in range(0, len(PROBE_DESCRIPTORS), DATA_IN_FRAME):
            data = PROBE_DESCRIPTORS[offset : offset + DATA_IN_FRAME]
            chunk = router.DescriptorChunk(offset=offset, data=data)
            self.lanes.put(router.RegisterRequest(descriptor_chunk=chunk))


def announced_descriptors():
    digest = hashlib.sha256(PROBE_DESCRIPTORS).digest()
    return router.DescriptorSetInfo(sha256=digest, size=len(PROBE_DESCRIPTORS))

"""Reference material: who is registered, whether a registration may be, and which instance gets a call."""

import re

from protocol import (
    ABORTED,
    ALREADY_EXISTS,
    CALL_WINDOW,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    MAX_CALLS,
    MAX_CREDIT,
    MAX_FRAME,
    MAX_METADATA,
    RESOURCE_EXHAUSTED,
    REVISION,
    UNAVAILABLE,
    UNIMPLEMENTED,
)
from gateway_request import Refusal
from stubs import router

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_SERVICE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
_VISIBLE = re.compile(r"[\x21-\x7e]{1,256}\Z")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f]*\Z")
ABOUT_THE_SERVER = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}
SERVICES_MAX = KEYS_MAX = 1_024
LABELS_MAX = 64


class Rejected(Exception):
    """The registration is refused, or its tunnel replaced: code, reason and message of an ErrorResponse."""

    def __init__(self, code, reason, message):
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


SUPERSEDED = Rejected(ABORTED, "superseded", "a higher epoch has taken this id")


def check(info):
    """Section 14's limits, and the defaults where a number is 0."""
    problems = [
        (not _ID.match(info.instance_id), "instance_id"),
        (not info.HasField("epoch"), "epoch is missing"),
        (not 1 <= len(info.services) <= SERVICES_MAX, "the number of services"),
        (len({it.name for it in info.services}) != len(info.services), "a service twice"),
        (any(not _service_name(it.name) for it in info.services), "the name of a service"),
        (len(info.keys) > KEYS_MAX or any(not _VISIBLE.match(it) for it in info.keys), "keys"),
        (len(info.labels) > LABELS_MAX, "the number of labels"),
        (any(not _VISIBLE.match(it) for it in info.labels), "the name of a label"),
        (any(not _text(it) for it in info.labels.values()), "the value of a label"),
        (not _text(info.version), "version"),
        (info.weight > 1_000, "weight"),
        (info.max_frame and info.max_frame < MAX_FRAME, "max_frame is below 65,536"),
        (info.call_window > MAX_CREDIT, "call_window is above 2^31 - 1"),
        (not _revisions_make_sense(info.revisions), "revisions"),
        (info.HasField("descriptors") and not _announces(info.descriptors), "descriptors"),
    ]
    for wrong, what in problems:
        if wrong:
            raise Rejected(INVALID_ARGUMENT, "bad-registration", what)
    if not info.revisions.min <= REVISION <= info.revisions.max:
        raise Rejected(FAILED_PRECONDITION, "revision", f"this gateway speaks revision {REVISION}")
    info.call_window = info.call_window or CALL_WINDOW
    info.max_frame = info.max_frame or MAX_FRAME
    info.max_calls = info.max_calls or MAX_CALLS
    info.max_metadata = info.max_metadata or MAX_METADATA
    info.weight = info.weight or 1


def _service_name(name):
    return len(name) <= 256 and (name == "*" or _SERVICE.match(name) is not None)


def _text(text):
    return len(text.encode()) <= 256 and _PLAIN.match(text) is not None


def _revisions_make_sense(revisions):
    return 1 <= revisions.min <= revisions.max


def _announces(descriptors):
    return len(descriptors.sha256) == 32 and descriptors.size > 0


class Registry:
    """Live tunnels by instance id. It outlives none of them."""

    def __init__(self, tunnels_max):
        self.tunnels = {}
        self.tunnels_max = tunnels_max
        self.revision = 0
        # Smooth weighted round robin, for each service apart: tunnel -> what it is owed.
        self.turns = {}

    def register(self, tunnel):
        """Takes the place of its id. Returns the tunnel that it replaces."""
        info = tunnel.info
        before = self.tunnels.get(info.instance_id)
        if before is not None and _epoch(info) <= _epoch(before.info):
            message = "a tunnel with this id has the same or a higher epoch"
            raise Rejected(ALREADY_EXISTS, "stale-epoch", message)
        if before is None and len(self.tunnels) >= self.tunnels_max:
            raise Rejected(RESOURCE_EXHAUSTED, "limit", "the gateway takes no more tunnels")
        # The latest registration is the last in turn, also where it replaces one.
        self.tunnels.pop(info.instance_id, None)
        self.tunnels[info.instance_id] = tunnel
        self.changed()
        return before

    def changed(self):
        self.revision += 1

    def remove(self, tunnel):
        if self.tunnels.get(tunnel.info.instance_id) is tunnel:
            del self.tunnels[tunnel.info.instance_id]
            self.changed()
        for turns in self.turns.values():
            turns.pop(tunnel, None)

    def pick(self, request, excluded=()):
        """The tunnel for a call, or a Refusal."""
        if request.instance is not None:
            tunnel = self.tunnels.get(request.instance)
            if tunnel is None or not _takes_by_name(tunnel, request.service):
                raise Refusal(UNAVAILABLE, "no-instance", "no such instance takes this call")
            if tunnel in excluded:
                raise Refusal(UNAVAILABLE, "refused", "the instance that was asked for declined")
            return self._with_room([tunnel])[0]
        if not self.tunnels:
            raise Refusal(UNAVAILABLE, "no-instance", "no instance is registered")
        live = list(self.tunnels.values())
        named = [it for it in live if request.service in it.services]
        catch_alls = [it for it in live if request.service not in it.services and "*" in it.services]
        if not named and not catch_alls:
            raise Refusal(UNIMPLEMENTED, "unknown-service", "no instance has this service")
        # Those that cannot take it are as good as not there: then a catch-all gets it.
        for group in (named, catch_alls):
            taking = [it for it in group if it.takes(request.service) and it not in excluded]
            if taking:
                return self._turn(request.service, self._with_room(taking))
        if excluded:
            raise Refusal(UNAVAILABLE, "refused", "no other instance is there")
        raise Refusal(UNAVAILABLE, "no-instance", "no instance of this service takes calls")

    @staticmethod
    def _with_room(tunnels):
        room = [it for it in tunnels if len(it.calls) < it.max_calls]
        if not room:
            raise Refusal(RESOURCE_EXHAUSTED, "limit", "the instance runs as many calls as it may")
        return room

    def _turn(self, service, tunnels):
        # Keyed by what was asked for, so bounded by the services that instances have declared.
        declared = service if any(service in it.services for it in tunnels) else "*"
        turns = self.turns.setdefault(declared, {})
        for tunnel in tunnels:
            turns[tunnel] = turns.get(tunnel, 0) + tunnel.info.weight
        best = max(tunnels, key=lambda it: turns[it])
        turns[best] -= sum(it.info.weight for it in tunnels)
        return best


def _takes_by_name(tunnel, service):
    """Health and reflection are of every server, and not declared."""
    return tunnel.takes(service) or (service in ABOUT_THE_SERVER and not tunnel.draining)


def _epoch(info):
    return (info.epoch.started_us, info.epoch.attempt)


def takes_calls(health):
    return health in (router.HEALTHY, router.UNKNOWN)

"""Reference material: calls that are over, and breaches (section 13)."""

import collections

from protocol import BREACH_SPAN_S, BREACHES, LATE_FRAMES, Fault


class Ended:
    """The calls that ended last, and how much may still come for each."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.calls = collections.OrderedDict()

    def remember(self, request_id, credit, by_peer=False):
        """`credit` is what the other side may still have sent before it knew. It did know where it ended the
        call itself: then nothing more may come."""
        self.calls[request_id] = [0, 0] if by_peer else [credit, LATE_FRAMES]
        while len(self.calls) > self.capacity:
            self.calls.popitem(last=False)

    def tolerates(self, request_id, data):
        """Whether a frame of a call that is not there any more is late, not wrong."""
        left = self.calls.get(request_id)
        if left is None:
            return False
        if data:
            left[0] -= data
            return left[0] >= 0
        left[1] -= 1
        return left[1] >= 0


class Breaches:
    """Counts breaches, and ends the tunnel at the 64th within a minute."""

    def __init__(self, clock):
        self.clock = clock
        self.times = collections.deque(maxlen=BREACHES)

    def count(self, rule):
        now = self.clock()
        self.times.append(now)
        if len(self.times) == BREACHES and now - self.times[0] <= BREACH_SPAN_S:
            raise Fault(f"{BREACHES} breaches within {BREACH_SPAN_S:.0f} s, the last: {rule}")

"""Reference material: the two directions of one call at one end of a tunnel (sections 4 to 7)."""

import collections

from protocol import FLOW_CONTROL_ERROR, MAX_CREDIT, Breach


class Sender:
    """What waits to be sent, and the credit for it."""

    def __init__(self, credit):
        self.credit = credit
        self.sequence = 0
        self.waiting = bytearray()

    def grant(self, window):
        if self.credit + window > MAX_CREDIT:
            raise Breach("credit passes 2^31 - 1", FLOW_CONTROL_ERROR)
        self.credit += window

    def cut(self, limit):
        """The number and the bytes of the next chunk; no bytes where there are none or no credit."""
        size = min(limit, self.credit, len(self.waiting))
        if size == 0:
            return 0, b""
        data = bytes(self.waiting[:size])
        del self.waiting[:size]
        self.credit -= size
        number = self.sequence
        self.sequence = (number + 1) & 0xFFFFFFFF
        return number, data


class Receiver:
    """What has come and was not taken, and the credit that the other side still has."""

    def __init__(self, window):
        self.window = window
        self.credit = window
        self.sequence = 0
        self.chunks = collections.deque()
        self.held = 0
        self.total = 0
        self.owed = 0
        self.ended = False

    def receive(self, number, data):
        if self.ended:
            raise Breach("data after the end")
        if number != self.sequence:
            raise Breach(f"seq {number} where {self.sequence} was due")
        if len(data) > self.credit:
            raise Breach("data without credit", FLOW_CONTROL_ERROR)
        self.sequence = (number + 1) & 0xFFFFFFFF
        self.credit -= len(data)
        self.held += len(data)
        self.total += len(data)
        self.chunks.append(data)

    def take(self, limit):
        """At most so many bytes, which have left for the next hop with that."""
        pieces = []
        room = limit
        while self.chunks and room > 0:
            chunk = self.chunks.popleft()
            if len(chunk) > room:
                self.chunks.appendleft(chunk[room:])
                chunk = chunk[:room]
            room -= len(chunk)
            pieces.append(chunk)
        data = b"".join(pieces)
        self.held -= len(data)
        self.owed += len(data)
        return data

    def grant_due(self):
        """Grants wait for half of the window, and no longer (section 7)."""
        return not self.ended and self.owed > 0 and self.owed * 2 >= self.window

    def grant(self):
        """The credit to be granted now: 0, or all that was taken since the last grant."""
        if not self.grant_due():
            return 0
        window, self.owed = self.owed, 0
        self.credit += window
        return window

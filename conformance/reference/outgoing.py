"""Reference material: what one end of a tunnel sends, and in which turn.

Frames are built when the transport has room for them and not before: a call holds what it has to say
(start, bytes, end, credit, reset), and the frame made of it has all of that which may go now. So a small
answer is one frame without anybody waiting for it, and nothing is queued but the calls themselves.
"""

import collections

from halves import Receiver, Sender
from protocol import DATA_IN_FRAME, MAX_FRAME, RESET

# A call with no more than this to send goes before the bulk of others.
SMALL = 4_096
# Frames of the first lane after which one of the second has its turn.
URGENT_IN_A_ROW = 8


class Outgoing:
    """One call as its frames leave. Subclasses fill in start and end, and say which message it is."""

    Frame = None
    START, END = 1, 2

    def __init__(self, request_id, credit, window, max_frame):
        self.id = request_id
        self.sender = Sender(credit)
        self.receiver = Receiver(window)
        self.max_frame = max_frame
        self.start_ready = self.started = False
        self.end_ready = False  # and true no more once the end has left
        self.reset = None  # (code, further flags)
        self.over = False
        self.ended_by_peer = False

    # For subclasses.

    def fill_start(self, frame):
        """Writes OPEN's or HEAD's fields. False: not now, and not ever."""
        raise NotImplementedError

    def fill_end(self, frame):
        """Writes HALF_CLOSE's or COMPLETE's fields."""

    def end_without_start(self):
        """Whether the end may go without a start: a trailers-only answer."""
        return False

    def left(self, data):
        """These bytes have left for the transport."""

    def ended(self):
        """The end has left."""

    # For Lanes.

    def wants_urgent(self):
        if self.over:
            return False
        if self.reset is not None or (self.receiver.grant_due() and self._may_grant()):
            return True
        return self._has_frame() and not self._is_bulk()

    def wants_bulk(self):
        return not self.over and self.reset is None and self._has_frame() and self._is_bulk()

    def _may_grant(self):
        return True

    def _is_bulk(self):
        return len(self.sender.waiting) > SMALL and self.sender.credit > 0

    def _has_frame(self):
        if self.start_ready and not self.started:
            return True
        if not self.started:
            return self._end_may_go()
        return (self.sender.waiting and self.sender.credit > 0) or self._end_may_go()

    def _end_may_go(self):
        if not self.end_ready or self.sender.waiting:
            return False
        return self.started or self.end_without_start()

    def build(self, bulk):
        """The next frame, or None."""
        if self.over:
            return None
        frame = self.Frame(request_id=self.id)
        if self.reset is not None:
            code, further = self.reset
            frame.flags, frame.reset_code = RESET | further, code
            self.over = True
            return frame
        written = False
        full_turn = bulk or not self._is_bulk()
        if self.start_ready and not self.started and full_turn:
            if not self.fill_start(frame):
                return None
            frame.flags |= self.START
            self.started = written = True
        if self.started and full_turn:
            frame.seq, frame.data = self.sender.cut(DATA_IN_FRAME)
            written = written or len(frame.data) > 0
        if self._may_grant():
            frame.window = self.receiver.grant()
            written = written or frame.window > 0
        ending = False
        if self._end_may_go():
            alone = self.Frame(request_id=self.id)
            self.fill_end(alone)
            # Together where they fit; the end follows by itself where they do not.
            if not written or frame.ByteSize() + alone.ByteSize() <= min(self.max_frame, MAX_FRAME) - 16:
                frame.MergeFrom(alone)
                frame.flags |= self.END
                ending = written = True
        if not written:
            return None
        if frame.data:
            self.left(frame.data)
        if ending:
            self.end_ready = False
            self.ended()
        return frame


class Lanes:
    """Whose turn it is: signs of life, then calls with little to send, then the bulk, in turns."""

    def __init__(self, wake):
        self.control = collections.deque()
        self.urgent = {}
        self.bulk = {}
        self.in_a_row = 0
        self.wake = wake

    def put(self, frame):
        """A frame of no call. Their senders bound how many wait."""
        self.control.append(frame)
        self.wake()

    def mark(self, call):
        """Something of this call has changed."""
        if call.wants_urgent():
            self.urgent.setdefault(call)
        if call.wants_bulk():
            self.bulk.setdefault(call)
        if call in self.urgent or call in self.bulk:
            self.wake()

    def next(self):
        """The next frame to write: of the tunnel, or of a call; None when there is none."""
        if self.control:
            return self.control.popleft()
        while self.urgent or self.bulk:
            bulk = not self.urgent or (self.in_a_row >= URGENT_IN_A_ROW and bool(self.bulk))
            self.in_a_row = 0 if bulk else self.in_a_row + 1
            lane = self.bulk if bulk else self.urgent
            call = next(iter(lane))
            del lane[call]
            frame = call.build(bulk)
            self.mark(call)
            if frame is not None:
                return frame
        return None

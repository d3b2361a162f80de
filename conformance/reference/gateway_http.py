"""Reference material: one HTTP/2 connection of the gateway, on h2.

h2 does the protocol; this decides when bytes are read, released and written. Its own header checks are
off, because they end connections; `gateway_request.py` makes them and ends one request.
"""

import asyncio
import logging

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import GoAwayFrame

log = logging.getLogger("http")

# What the transport may hold of what was written, before calls must wait.
WRITE_BUFFER = 65_536
MAX_HEADERS = 65_536
# HTTP/2 begins with this window for each stream and for the connection.
HTTP2_WINDOW = 65_535
CLOSE_LIMIT_S = 5.0
# Answers that HTTP/2 itself owes (to PING, to SETTINGS) may wait in the transport beside what calls have there.
BACKLOG_MAX = 8 * WRITE_BUFFER
# Streams that were reset before they came to anything, beyond those that did; and streams that broke HTTP/2. More of
# either is an attack.
WASTED_MAX = 100


class Connection(asyncio.Protocol):
    """Streams are objects with `data(bytes)`, `half_closed()`, `gone()`, and `push()`, which writes what
    it may and says whether it could write more at once."""

    stream_window = HTTP2_WINDOW
    max_streams = 1_024

    def __init__(self, keepalive_s, preface_s):
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_inbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.keepalive_s, self.preface_s = keepalive_s, preface_s
        self.streams = {}
        self.ready = {}
        self.owed = {}
        self.paused = self.pumping = self.closed = False
        self.transport = self.timer = self.preface = None
        self.heard = False
        self.wasted = self.broken = 0

    def request(self, stream_id, headers, ended):
        """A stream for a request, or None where it was answered at once."""
        raise NotImplementedError

    # asyncio.Protocol.

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        codes = h2.settings.SettingCodes
        limits = {codes.MAX_CONCURRENT_STREAMS: self.max_streams, codes.MAX_HEADER_LIST_SIZE: MAX_HEADERS}
        # In the first SETTINGS: what comes in a second one does not hold until it is acknowledged.
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=limits)
        self.h2.initiate_connection()
        # A client that has not seen this yet sends as HTTP/2 begins, and h2 lets it.
        self.h2.update_settings({codes.INITIAL_WINDOW_SIZE: self.stream_window})
        # The connection's window has room for all its streams: one that stalls stops no other.
        room = min(2**31 - 1, self.max_streams * max(self.stream_window, HTTP2_WINDOW)) - HTTP2_WINDOW
        self.h2.increment_flow_control_window(room)
        self.flush()
        self._watch()
        # Until the other side's own preface has come, with the SETTINGS at its end.
        self.preface = asyncio.get_running_loop().call_later(self.preface_s, self.close)

    def data_received(self, data):
        self.heard = True
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            log.info("a connection breaks HTTP/2: %s", error)
            self.flush()
            self.close()
            return
        for event in events:
            self._event(event)
            if max(self.wasted, self.broken) > WASTED_MAX:
                log.info("a connection wastes streams")
                self._drop_all()
                self.h2.close_connection(error_code=h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
                self.flush()
                self.close()
                return
        self.flush()

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.pump()

    def eof_received(self):
        return False

    def connection_lost(self, error):
        self.closed = True
        for timer in (self.timer, self.preface):
            if timer is not None:
                timer.cancel()
        self._drop_all()

    def _drop_all(self):
        streams, self.streams = self.streams, {}
        self.ready.clear()
        for stream in streams.values():
            stream.gone()

    def _event(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self._request(event)
        elif isinstance(event, h2.events.DataReceived):
            size = event.flow_controlled_length
            if size:
                self.h2.increment_flow_control_window(size)
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                self.release(event.stream_id, size - len(event.data))
                if event.data:
                    stream.data(event.data)
        elif isinstance(event, h2.events.StreamEnded):
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                stream.half_closed()
        elif isinstance(event, h2.events.StreamReset):
            self.broken += not event.remote_reset
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                self.forget(event.stream_id)
                stream.gone()
        elif isinstance(event, h2.events.WindowUpdated):
            waiting = self.streams if event.stream_id == 0 else [event.stream_id]
            for stream_id in waiting:
                self.wants_write(stream_id)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.preface.cancel()
            for stream_id in self.streams:
                self.wants_write(stream_id)
        elif isinstance(event, h2.events.ConnectionTerminated):
            # h2 lets nothing be sent after a GOAWAY of the other side.
            self._drop_all()
            self.close()

    def _request(self, event):
        ended = event.stream_ended is not None
        stream = self.request(event.stream_id, event.headers, ended)
        if stream is not None and not self.closed:
            self.streams[event.stream_id] = stream
            self.wants_write(event.stream_id)

    # For streams.

    def release(self, stream_id, size):
        """So many bytes of the request have left for the next hop: the client may send as many more."""
        if stream_id not in self.streams:
            return
        owed = self.owed.get(stream_id, 0) + size
        if owed and owed * 4 >= min(self.stream_window, HTTP2_WINDOW) and not self.closed:
            try:
                self.h2.increment_flow_control_window(owed, stream_id)
            except (h2.exceptions.ProtocolError, KeyError):
                pass  # The request has ended; nothing more comes.
            owed = 0
            self.wants_flush()
        self.owed[stream_id] = owed

    def used(self):
        """A stream has come to something: a call was opened at an instance."""
        self.wasted = max(0, self.wasted - 1)

    def unused(self):
        """A stream was reset before it came to that."""
        self.wasted += 1

    def forget(self, stream_id):
        self.streams.pop(stream_id, None)
        self.ready.pop(stream_id, None)
        self.owed.pop(stream_id, None)

    def reset(self, stream_id, code):
        self.forget(stream_id)
        try:
            self.h2.reset_stream(stream_id, code)
        except (h2.exceptions.ProtocolError, KeyError):
            return
        self.wants_flush()

    def send_headers(self, stream_id, headers, end):
        try:
            self.h2.send_headers(stream_id, headers, end_stream=end)
        except h2.exceptions.ProtocolError as error:
            log.info("headers cannot be sent: %s", error)

    def room(self, stream_id):
        """How many bytes of data may be sent now, in one frame."""
        try:
            window = self.h2.local_flow_control_window(stream_id)
        except (h2.exceptions.ProtocolError, KeyError):
            return 0
        return max(0, min(window, self.h2.max_outbound_frame_size))

    def wants_write(self, stream_id):
        if stream_id in self.streams:
            self.ready.setdefault(stream_id)
            self.wants_flush()

    def wants_flush(self):
        # Once for all that this turn of the loop wants to write.
        if not self.pumping and not self.closed:
            self.pumping = True
            asyncio.get_running_loop().call_soon(self.pump)

    def pump(self):
        self.pumping = False
        while self.ready and not self.paused and not self.closed:
            stream_id = next(iter(self.ready))
            del self.ready[stream_id]
            stream = self.streams.get(stream_id)
            if stream is not None and stream.push() and stream_id in self.streams:
                self.ready[stream_id] = None
            self.flush()
        self.flush()

    def flush(self):
        if not self.closed and self.transport is not None:
            data = self.h2.data_to_send()
            if data:
                self.transport.write(data)
            if self.transport.get_write_buffer_size() > BACKLOG_MAX:
                log.info("a connection does not read its answers")
                self.transport.abort()

    # Its end.

    def go_away(self):
        """Asks for no new streams; those that run go on. h2's own GOAWAY would end them, so this is by hand."""
        if not self.closed:
            frame = GoAwayFrame(0, last_stream_id=self.h2.highest_inbound_stream_id, error_code=0)
            self.flush()
            self.transport.write(frame.serialize())

    def close(self):
        """Closes once what was written is out, or after a time."""
        if not self.closed and self.transport is not None:
            self.transport.close()
            asyncio.get_running_loop().call_later(CLOSE_LIMIT_S, self.transport.abort)

    def _watch(self):
        # Silence for one interval is asked about; silence after that for another ends the connection.
        self.timer = asyncio.get_running_loop().call_later(self.keepalive_s, self._silent_check)
        self.heard = False
        self.asked = False

    def _silent_check(self):
        if self.closed:
            return
        if not self.heard and self.asked:
            log.info("a connection is silent")
            self.transport.abort()
            return
        asked = not self.heard
        if asked:
            try:
                self.h2.ping(b"\0" * 8)
            except h2.exceptions.ProtocolError:
                return
            self.flush()
        self._watch()
        self.asked = asked

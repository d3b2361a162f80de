"""Reference material: the lengths of messages that pass, of which none is held.

The tunnel itself has no limit of them; a gateway may have one, and then answers "limit" (router.proto, section 10).
"""

PREFIX = 5


class Lengths:
    """Follows one direction of a call by the prefixes of its messages. A limit of 0 is none."""

    def __init__(self, limit):
        self.limit = limit
        self.prefix = bytearray()
        self.rest = 0  # of the message that passes

    def pass_on(self, data):
        """Whether all messages that begin in these bytes keep to the limit."""
        at = 0
        while self.limit and at < len(data):
            if self.rest == 0:
                piece = data[at : at + PREFIX - len(self.prefix)]
                self.prefix += piece
                at += len(piece)
                if len(self.prefix) < PREFIX:
                    break
                self.rest = int.from_bytes(self.prefix[1:], "big")
                self.prefix.clear()
                if self.rest > self.limit:
                    return False
            passing = min(self.rest, len(data) - at)
            self.rest -= passing
            at += passing
        return True

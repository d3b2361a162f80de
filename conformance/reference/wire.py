"""Reference material: frames to bytes, in the usual order of fields or in another.

Section 1 lets fields come in any order. The other order shows that a decoder means it: `data` first,
the rest from the highest field to the lowest.
"""


def encode(frame, shuffle=False):
    """The bytes of a RegisterRequest or RegisterResponse."""
    if not shuffle:
        return frame.SerializeToString()
    kind = frame.WhichOneof("frame")
    if kind not in ("rpc_call", "rpc_response"):
        return frame.SerializeToString()
    body = _shuffled(getattr(frame, kind))
    number = frame.DESCRIPTOR.fields_by_name[kind].number
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _shuffled(message):
    # Each field alone, encoded as it always is, one after the other.
    pieces = []
    for field, _ in reversed(message.ListFields()):
        alone = type(message)()
        if field.is_repeated:
            getattr(alone, field.name).extend(getattr(message, field.name))
        else:
            setattr(alone, field.name, getattr(message, field.name))
        pieces.append(alone.SerializeToString())
    return b"".join(pieces)


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

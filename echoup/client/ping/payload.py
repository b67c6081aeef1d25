"""The bytes that a probe sends."""

import os
import string

_TEXT = (string.ascii_letters + string.digits + "-_").encode()
_TO_TEXT = bytes(_TEXT[byte % len(_TEXT)] for byte in range(256))
_TO_LOWERCASE = bytes(_TEXT[byte % 26] for byte in range(256))


def makePayload(size: int) -> bytes:
    """Return `size` bytes, 1 or more, of random text, so that no cache can know the reply.

    The first is a lowercase letter, so that the right reply differs from the payload. If there are several, the last is
    a newline, because some servers answer line by line. All are ASCII, because some servers decode the text.
    """
    data = os.urandom(size)
    return data[:1].translate(_TO_LOWERCASE) + data[1:-1].translate(_TO_TEXT) + b"\n" * (size > 1)

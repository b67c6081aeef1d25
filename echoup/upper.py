"""The one transformation that the service and its clients agree on."""


def upper(data: bytes) -> bytes:
    """Return `data` with the bytes `a` to `z` turned into `A` to `Z` and every other byte as it was.

    The length never changes and the result doesn't depend on how a stream was split, which
    `str.upper()` could promise for neither: it turns `ß` into two letters.
    """
    return data.upper()

"""A client's own flight shows whether the server has asked for a certificate."""

import contextlib
import ssl

from twisted.trial.unittest import SynchronousTestCase

from echoup.tls.flight import hasCertificate
from tests.support.certificates import VERSIONS, contexts


def flights(version: ssl.TLSVersion, demanding: bool) -> list[bytes]:
    """Return the flights of a client that has no certificate."""
    client, server = contexts(version, demanding)
    upwards, downwards = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(downwards, upwards, server_hostname="localhost")
    theirs = server.wrap_bio(upwards, downwards, server_side=True)
    sent = []
    for _ in range(3):
        with contextlib.suppress(ssl.SSLError):
            ours.do_handshake()
        sent.append(upwards.read())
        upwards.write(sent[-1])
        with contextlib.suppress(ssl.SSLError):
            theirs.do_handshake()
    return sent


class HasCertificateTests(SynchronousTestCase):
    """`hasCertificate` reads the flights of Python's own client."""

    def test_askedClientSendsCertificate(self) -> None:
        """In both versions a client that was asked sends a Certificate, though it has none; another one doesn't."""
        for version in VERSIONS:
            first, second, third = flights(version, demanding=True)
            assert (hasCertificate(first), hasCertificate(second), hasCertificate(third)) == (False, True, False)
            assert not any(map(hasCertificate, flights(version, demanding=False)))

    def test_encryptedHandshakeIsNotRead(self) -> None:
        """After ChangeCipherSpec the content of a record of TLS 1.2 is encrypted, and its first byte means nothing."""
        changed = b"\x14\3\3\0\1\1"
        record = b"\x16\3\3\0\2\x0b\0"
        assert hasCertificate(record + changed)
        assert not hasCertificate(changed + record)

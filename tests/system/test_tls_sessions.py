"""Sessions and messages of TLS in the middle of the stream, with clients that ask for them."""

import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest

from tests.support.authorities import TLS_1_2, TLS_1_3, Certificates
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon
from tests.support.peers import need
from tests.support.tls import TLSConnection


@pytest.mark.parametrize("workers", [1, 2])
def test_sessionsAreResumed(tmp_path: Path, certificates: Certificates, workers: int) -> None:
    """A client resumes its session at the same worker; at another one, and after a SIGHUP, it is served as well."""
    options = [f"--tls-cert={certificates.server}", f"--tls-client-ca={certificates.authority}", f"--workers={workers}"]
    with Daemon.start(tmp_path, *options, listen=["tls:127.0.0.1:0"]) as daemon:
        for version in (TLS_1_2, TLS_1_3):
            context = certificates.context(version, certificates.client)

            def resume(session: ssl.SSLSession | None, context: ssl.SSLContext) -> ssl.SSLObject:
                with daemon.address.connect() as connection:
                    tls = TLSConnection(connection, context, session=session)
                    assert tls.ask(b"hello") == b"HELLO"
                return tls.tls

            session = resume(None, context).session
            resumed = [resume(session, context).session_reused for _ in range(10 * workers)]
            assert any(resumed)
            assert all(resumed) or workers > 1
            if workers == 1:
                daemon.signal(signal.SIGHUP)
                while resume(session, context).session_reused:
                    time.sleep(0.05)


@contextmanager
def talking(daemon: Daemon, *options: str) -> Iterator[Callable[[str, str], list[str]]]:
    """Run `openssl s_client`, and yield a function that writes a line, and returns those up to the one that answers."""
    command = [need("openssl"), "s_client", "-connect", daemon.address.target[4:], *options]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, text=True) as process:
        assert process.stdin
        assert process.stdout
        replies, write = process.stdout, process.stdin

        def say(line: str, answer: str) -> list[str]:
            write.write(f"{line}\n")
            write.flush()
            lines = [""]
            while answer not in lines[-1]:
                lines.append(replies.readline())
                assert lines[-1], lines
            return lines

        yield say


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_opensslResumesItsSession(tmp_path: Path, certificates: Certificates, version: str) -> None:
    """`openssl s_client` resumes the session that it got with the first reply."""
    with Daemon.start(tmp_path, listen=[listenTLS(certificates.server)]) as daemon:
        for way, begin in (("-sess_out", "New, TLSv1"), ("-sess_in", "Reused, TLSv1")):
            with talking(daemon, version, way, f"{tmp_path}/session") as say:
                assert any(line.startswith(begin) for line in say("hello", "HELLO"))
                say("Q", "DONE")


def test_opensslUpdatesItsKeys(tmp_path: Path, certificates: Certificates) -> None:
    """In TLS 1.3 a client may update its keys, and the daemon's, in the middle of the stream."""
    with (
        Daemon.start(tmp_path, listen=[listenTLS(certificates.server)]) as daemon,
        talking(daemon, "-tls1_3") as say,
    ):
        for command in "KkK":
            say("hello", "HELLO")
            say(command, "KEYUPDATE")
        say("world", "WORLD")
        say("Q", "DONE")


def test_opensslIsRefusedAnotherHandshake(tmp_path: Path, certificates: Certificates) -> None:
    """In TLS 1.2 a client that asks for another handshake is told at once that there is none."""
    with (
        Daemon.start(tmp_path, listen=[listenTLS(certificates.server)]) as daemon,
        talking(daemon, "-tls1_2") as say,
    ):
        say("hello", "HELLO")
        say("R", "no renegotiation")


def test_opensslGetsSmallRecords(tmp_path: Path, certificates: Certificates) -> None:
    """A client may ask for records of at most 512 bytes (RFC 6066, 4)."""
    with (
        Daemon.start(tmp_path, listen=[listenTLS(certificates.server)]) as daemon,
        talking(daemon, "-tls1_2", "-maxfraglen", "512") as say,
    ):
        line = "hello" * 2000
        assert say(line, line.upper())[-1] == f"{line.upper()}\n"
        say("Q", "DONE")

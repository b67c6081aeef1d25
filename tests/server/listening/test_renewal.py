"""What is said of certificates: what they are, and which are not valid, at the start, after a reload and once a day."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.listening import renewal
from echoup.server.listening.listeners import Listener, parseListener, parseListeners
from echoup.server.listening.renewal import (
    DAY,
    ExpiryWatch,
    certificateProblem,
    describeCertificates,
    reloadCertificates,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
MOMENT, DAYS = timedelta(seconds=1), timedelta(days=1)


class RenewalTestCase(SynchronousTestCase):
    """A test with certificates, in which the wall clock stands at NOW."""

    def setUp(self) -> None:
        """Make a folder, and set the time."""
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.authority = trustme.CA()
        self.setTime(NOW)

    def setTime(self, now: datetime) -> None:
        """Set the wall clock."""
        self.patch(renewal, "time", now.timestamp)

    def write(self, name: str, end: timedelta, begin: timedelta = -DAYS) -> str:
        """Write a certificate that is valid from and until these times after NOW, and return its path."""
        leaf = self.authority.issue_cert(name, not_before=NOW + begin, not_after=NOW + end)
        path = self.folder / name
        path.write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
        return str(path)

    def listener(self, name: str, end: timedelta, begin: timedelta = -DAYS) -> Listener:
        """Return a listener with such a certificate."""
        return parseListener(f"ssl:0:privateKey={self.write(name, end, begin)}")

    def events(self, call: Callable[..., object], *arguments: object) -> list[LogEvent]:
        """Return what a call logs."""
        with capturedLogs() as events:
            call(*arguments)
        return list(events)

    def lines(self, call: Callable[..., object], *arguments: object) -> list[str]:
        """Return what a call logs as lines, without the folder."""
        events = self.events(call, *arguments)
        return [
            f"{event['log_level'].name}: {formatEvent(event)}".replace(f"{self.folder}/", "", 1) for event in events
        ]


class DescriptionTests(RenewalTestCase):
    """Each certificate is described once."""

    def test_validCertificateIsDescribed(self) -> None:
        """The line has the subject, the day of the expiry in UTC, and the whole days until then."""
        for left, expiry, days in (
            (66.5, "2030-03-09", "66 days"),
            (1.9, "2030-01-03", "1 day"),
            (0, "2030-01-01", "0 days"),
        ):
            listener = self.listener("cert.pem", left * DAYS + MOMENT)
            assert listener.certificate
            assert listener.certificate.info
            subject = listener.certificate.info.subject
            assert self.lines(describeCertificates, [listener]) == [
                f"info: certificate cert.pem: {subject}, valid until {expiry} ({days})"
            ]

    def test_everyFieldIsAMemberOfTheEvent(self) -> None:
        """The file, the subject, the expiry and the days are members of the event, the days as a number."""
        listener = self.listener("cert.pem", 66 * DAYS + MOMENT)
        (event,) = self.events(describeCertificates, [listener])
        assert event["file"] == f"{self.folder}/cert.pem"
        assert event["subject"].startswith("OU=Testing cert ")
        assert (event["expiry"], event["days"]) == ("2030-03-08", 66)

    def test_invalidCertificateIsAWarning(self) -> None:
        """A certificate that has expired, or isn't valid yet, is a warning."""
        listeners = [self.listener("old.pem", -DAYS / 2 - MOMENT), self.listener("new.pem", 2 * DAYS, begin=DAYS)]
        assert self.lines(describeCertificates, listeners) == [
            "warn: certificate old.pem expired on 2029-12-31",
            "warn: certificate new.pem is not valid before 2030-01-02",
        ]

    def test_sharedCertificateIsSaidOnce(self) -> None:
        """A certificate of several listeners is said once, also if each has read the file."""
        path = self.write("cert.pem", -MOMENT)
        shared = parseListener(f"ssl:0:privateKey={path}")
        listeners = [shared, *parseListeners(["tls:1", "127.0.0.1:0", "tls:2"], certificate=shared.certificate)]
        listeners.append(parseListener(f"ssl:1:privateKey={path}"))
        assert self.lines(describeCertificates, listeners) == ["warn: certificate cert.pem expired on 2030-01-01"]

    def test_certificateThatOnlyOpenSSLParsesIsAWarning(self) -> None:
        """A certificate that OpenSSL takes, but whose facts can't be read, is a warning."""
        listener = self.listener("cert.pem", DAYS)
        assert listener.certificate
        self.patch(type(listener.certificate), "info", None)
        assert self.lines(describeCertificates, [listener]) == [
            "warn: certificate cert.pem: its subject and expiry cannot be read"
        ]
        assert certificateProblem([listener], NOW.timestamp()) == ""


class ReloadTests(RenewalTestCase):
    """After a reload, a certificate in use that isn't valid is a warning."""

    def test_newCertificateThatIsInvalidIsAWarning(self) -> None:
        """A new certificate that has expired is used, and is a warning."""
        listener = self.listener("cert.pem", DAYS)
        assert self.lines(reloadCertificates, [listener]) == ["info: reloaded the certificate in cert.pem"]
        self.write("cert.pem", -MOMENT)
        assert self.lines(reloadCertificates, [listener]) == [
            "info: reloaded the certificate in cert.pem",
            "warn: certificate cert.pem expired on 2030-01-01",
        ]

    def test_oldCertificateThatStaysInUseIsAWarning(self) -> None:
        """An expired certificate that stays in use because the new one can't be read is a warning."""
        listener = self.listener("cert.pem", -MOMENT)
        (self.folder / "cert.pem").unlink()
        error, warning = self.lines(reloadCertificates, [listener])
        assert error.startswith("error: cannot reload the certificate in cert.pem; the old one stays in use: ")
        assert warning == "warn: certificate cert.pem expired on 2030-01-01"

    def test_workerSaysNothing(self) -> None:
        """A worker, whose supervisor has said it, logs nothing."""
        assert self.lines(reloadCertificates, [self.listener("cert.pem", -MOMENT)], False) == []


class ProblemTests(RenewalTestCase):
    """Certificates that aren't valid are a problem of the daemon."""

    def test_validCertificatesAreNoProblem(self) -> None:
        """Valid certificates, and listeners without one, are no problem."""
        listeners = [parseListener("127.0.0.1:0"), self.listener("cert.pem", MOMENT, begin=-MOMENT)]
        assert certificateProblem(listeners, NOW.timestamp()) == ""

    def test_invalidCertificatesAreNamed(self) -> None:
        """Each certificate that has expired, or isn't valid yet, is named with the reason."""
        listeners = [
            self.listener(name, end, begin)
            for name, end, begin in (("good.pem", DAYS, -DAYS), ("old.pem", -MOMENT, -DAYS), ("new.pem", DAYS, MOMENT))
        ]
        assert certificateProblem(listeners, NOW.timestamp()) == (
            f"{self.folder}/old.pem expired on 2030-01-01; {self.folder}/new.pem is not valid before 2030-01-01"
        )

    def test_problemIsOneLine(self) -> None:
        """A file whose name has a newline is told in one line."""
        listener = self.listener("a", -MOMENT)
        assert listener.certificate
        listener.certificate.privateKey = "a\nb"
        listener.certificate._contents["a\nb"] = (self.folder / "a").read_bytes()
        assert certificateProblem([listener], NOW.timestamp()) == r"a\nb expired on 2030-01-01"


class ExpiryWatchTests(RenewalTestCase):
    """`ExpiryWatch` describes certificates at the start, and warns once a day."""

    def test_certificateThatExpiresIsAWarningOnceADay(self) -> None:
        """A certificate that expires while the daemon runs is a warning on the next day, and on each one after."""
        clock = Clock()
        watch = ExpiryWatch(clock, [self.listener("cert.pem", 1.5 * DAYS)])
        (line,) = self.lines(watch.startService)
        assert line.endswith("valid until 2030-01-03 (1 day)")
        for day in (1, 2, 3):
            self.setTime(NOW + day * DAYS)
            assert self.lines(clock.advance, DAY - 1) == []
            said = ["warn: certificate cert.pem expired on 2030-01-03"] * (day > 1)
            assert self.lines(clock.advance, 1) == said
        watch.stopService()
        assert clock.getDelayedCalls() == []

    def test_renewalEndsTheWarnings(self) -> None:
        """After a renewal nothing more is said."""
        clock = Clock()
        listener = self.listener("cert.pem", -MOMENT)
        watch = ExpiryWatch(clock, [listener])
        assert self.lines(watch.startService) == ["warn: certificate cert.pem expired on 2030-01-01"]
        self.write("cert.pem", 9 * DAYS)
        reloadCertificates([listener])
        assert self.lines(clock.advance, DAY) == []

    def test_withoutCertificateThereIsNoTimer(self) -> None:
        """Without a certificate nothing is said, and no timer runs."""
        clock = Clock()
        watch = ExpiryWatch(clock, [parseListener("127.0.0.1:0")])
        assert self.lines(watch.startService) == []
        assert clock.getDelayedCalls() == []
        watch.stopService()

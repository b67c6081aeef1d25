"""The certificates of the listeners: read again after a renewal, described, and watched for their expiry."""

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from echoup.escaping import shown
from echoup.plurals import plural
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.listeners import Listener

if TYPE_CHECKING:
    from echoup.tls.certificateinfo import CertificateInfo

DAY = 86400.0
"""Seconds between two warnings of a certificate that isn't valid."""

_log = Logger()


def reloadCertificates(listeners: Collection[Listener], isSaid: bool = True) -> list[str]:
    """Read the certificates again, and return the descriptions of the listeners whose certificate was read.

    Log each certificate that can't be read, and, with `isSaid`, each that was, and those that aren't valid.
    """
    users: dict[ServerCertificate, list[str]] = {}
    for listener in listeners:
        if listener.certificate:
            users.setdefault(listener.certificate, []).append(listener.description)
    descriptions = []
    for certificate, described in users.items():
        try:
            certificate.reload()
        except ValueError as error:
            _log.error(
                "cannot reload the certificate in {file}; the old one stays in use: {error}",
                file=certificate.file,
                error=str(error),
            )
        else:
            if isSaid:
                _log.info("reloaded the certificate in {file}", file=certificate.file)
            descriptions += described
    if isSaid:
        warnOfCertificates(listeners)
    return descriptions


def describeCertificates(listeners: Collection[Listener]) -> None:
    """Log the subject and the expiry of each certificate, or why it isn't valid."""
    now = datetime.fromtimestamp(time(), UTC)
    for file, info in _find(listeners):
        if info is None:
            _log.warn("certificate {file}: its subject and expiry cannot be read", file=file)
        elif not info.problem(now):
            days = int(info.daysLeft(now))
            _log.info(
                f"certificate {{file}}: {{subject}}, valid until {{expiry}} ({{days}} {plural(days, 'day')})",
                file=file,
                subject=shown(info.subject),
                expiry=f"{info.notAfter:%Y-%m-%d}",
                days=days,
            )
    warnOfCertificates(listeners)


def warnOfCertificates(listeners: Iterable[Listener]) -> None:
    """Log each certificate that isn't valid."""
    for file, problem in _findProblems(listeners, time()):
        _log.warn("certificate {file} {problem}", file=file, problem=problem)


def certificateProblem(listeners: Iterable[Listener], now: float) -> str:
    """Return which certificates aren't valid at `now`, in seconds of the wall clock, and why; empty if all are."""
    return "; ".join(f"{file} {problem}" for file, problem in _findProblems(listeners, now))


def _findProblems(listeners: Iterable[Listener], now: float) -> Iterator[tuple[str, str]]:
    moment = datetime.fromtimestamp(now, UTC)
    for file, info in _find(listeners):
        if info and (problem := info.problem(moment)):
            yield file, problem


def _find(listeners: Iterable[Listener]) -> Iterable[tuple[str, "CertificateInfo | None"]]:
    """Return the files and the facts of the certificates, each once."""
    certificates = [listener.certificate for listener in listeners if listener.certificate]
    return dict.fromkeys((shown(certificate.file), certificate.info) for certificate in certificates)


class ExpiryWatch(Service):
    """Describes the certificates of `listeners` at its start, and once a day warns of those that aren't valid."""

    def __init__(self, reactor: IReactorTime, listeners: Iterable[Listener]) -> None:
        self._listeners = [listener for listener in listeners if listener.certificate]
        self._daily = LoopingCall(warnOfCertificates, self._listeners)
        self._daily.clock = reactor

    def startService(self) -> None:
        """Describe the certificates."""
        super().startService()
        describeCertificates(self._listeners)
        if self._listeners:
            self._daily.start(DAY, now=False)

    def stopService(self) -> None:
        """Warn no more."""
        super().stopService()
        if self._daily.running:
            self._daily.stop()

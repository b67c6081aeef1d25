"""Why connections end, why some are refused, and how what comes before a stream ends: each is counted."""

from enum import Enum


class Counted(Enum):
    """Something that is counted for each listener."""

    __hash__ = object.__hash__  # Enum's own is Python code, which would run twice for each connection


class EndReason(Counted):
    """Why a connection ended; the values are the words of the log."""

    DONE = "done"  # the peer ended its side, and everything was sent to it
    IDLE = "idle"  # there was no traffic for the idle timeout
    STALLED = "stalled"  # the peer took no data for the stall timeout while bytes waited for it
    STOPPING = "stopping"  # the daemon stops
    REFUSED = "refused"  # it was over a limit, and never served
    LOST = "lost"  # the peer, or the network, ended it early
    HEADER = "header"  # its PROXY header was missing or invalid
    TLS = "tls"  # the TLS handshake failed
    HANDSHAKE = "handshake"  # PROXY header and TLS handshake took longer than the handshake timeout
    KILLED = "killed"  # its worker ended; only the supervisor counts these


class Refusal(Counted):
    """Why a connection was refused; the values are those of the label `reason` in the metrics."""

    PEER = "peer"  # over --max-connections-per-peer
    STOPPING = "stopping"  # it still waited for a place when the ports closed
    DESCRIPTORS = "descriptors"  # no file descriptor was left, so it was never accepted


class TLSResult(Counted):
    """How a TLS handshake ended; the values are those of the labels `version` and `result` in the metrics."""

    TLS_1_2 = ("TLSv1.2", "ok")
    TLS_1_3 = ("TLSv1.3", "ok")
    FAILED = ("unknown", "failed")
    TIMEOUT = ("unknown", "timeout")
    LOST = ("unknown", "lost")  # the connection was gone before


class ProxyResult(Counted):
    """How a PROXY header ended; the values are those of the labels `version` and `result` in the metrics."""

    VERSION_1 = ("1", "ok")
    VERSION_2 = ("2", "ok")
    INVALID = ("unknown", "invalid")
    TIMEOUT = ("unknown", "timeout")
    LOST = ("unknown", "lost")  # the connection was gone before

"""What is wrong with a path on which large requests hang, or come late, over TCP."""

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.sizes.segments import (
    TLS_RECORD,
    RequestFate,
    SegmentSizes,
    SizeProbe,
    fateOfHandshake,
)
from echoup.client.exitcodes import ExitCode
from echoup.plurals import counted

LARGE_MTU = 16384
"""From this path MTU on, it isn't the peer that limits a segment: half of its window does (Linux, on loopback)."""

ICMP = "Let ICMP type 3 code 4 and ICMPv6 type 2 pass every firewall on the way"

_BLACK_HOLE = (
    "A router or a tunnel on the way has a smaller MTU and drops what is larger, and its ICMP messages (fragmentation "
    "needed, packet too big) don't arrive. Small messages pass, large ones hang."
)
_HOLES = {
    RequestFate.UNACKNOWLEDGED: ("mtu-black-hole", "to", "this machine"),
    RequestFate.UNANSWERED: ("mtu-black-hole-back", "back from", "the server"),
}
"""Where packets vanish by what became of a request: the cause, which way that is, and who sends them."""


def judgeHandshake(info: TCPInfo | None) -> Problem | None:
    """Return what is wrong where the TLS handshake wasn't completed; None where it isn't seen that packets vanish.

    `info` is what the kernel knew when the handshake was given up.
    """
    fate = fateOfHandshake(info)
    if not (info and fate):
        return None
    cause, way, _ = _HOLES[fate]
    seen = [f"TCP_INFO has unacknowledged {info.unacknowledged}, lost {info.lost}, backoff {info.backoff}"]
    if info.outOfOrder:
        seen.append(f"{counted(info.outOfOrder, 'segment')} of the server's came, and what it had sent before didn't")
    text = f"the TLS handshake hangs: large packets vanish on the way {way} the server"
    return Problem(Status.FAIL, cause, text, tuple(seen), _BLACK_HOLE, f"{ICMP}, or clamp the MSS.", ExitCode.TIMED_OUT)


def judgeSegments(segments: SegmentSizes, isTLS: bool) -> Problem | None:
    """Return what is wrong with large requests, with `isTLS` at about what size; None if nothing is."""
    hanging, again = segments.hanging, segments.again
    if not (hanging and again):
        return None
    if hanging.isPassed:
        return _late(segments, hanging, again)
    if hanging.size > segments.mss or hanging.fate not in _HOLES:
        return _limit(segments, hanging)
    return _hole(segments, hanging, isTLS)


def _hole(segments: SegmentSizes, hanging: SizeProbe, isTLS: bool) -> Problem:
    bounds, passed = segments.bounds, segments.passed
    about = "about " if isTLS or not (bounds and bounds.isExact) else ""
    packet = passed + hanging.headers + (TLS_RECORD if isTLS else 0)
    cause, way, sender = _HOLES[hanging.fate]
    seen = [f"requests of up to {about}{counted(passed, 'byte')}, in one segment, are answered; larger ones hang"]
    if not bounds:
        seen.append("some larger ones pass, so there may be several paths, or other losses")
    seen.append(_show(hanging))
    meaning = _BLACK_HOLE
    if hanging.fate is RequestFate.UNANSWERED:
        if any(probe.after.outOfOrder > probe.before.outOfOrder for probe in segments.first):
            seen.append("the last, short segment of a larger reply came, and the full ones before it didn't")
        else:
            seen.append("what hangs was acknowledged in full, so it isn't lost on the way there")
            meaning += " Or a proxy in between has acknowledged it, and the hole is behind the proxy."
    return Problem(
        Status.FAIL,
        cause,
        f"packets of more than {about}{packet} bytes vanish on the way {way} the server (an MTU black hole)",
        tuple(seen),
        meaning,
        f"{_remedy(hanging, packet)} With net.ipv4.tcp_mtu_probing=2 {sender} gets around it.",
        ExitCode.TIMED_OUT,
    )


def _limit(segments: SegmentSizes, hanging: SizeProbe) -> Problem:
    """Return what is wrong where what stops isn't a packet because of its size."""
    isClosed = hanging.fate is RequestFate.CLOSED
    fate = "close the connection" if isClosed else "hang"
    return Problem(
        Status.FAIL,
        "size-limit",
        f"requests of up to {counted(segments.passed, 'byte')} are answered, larger ones {fate}",
        (f"one segment carries {segments.mss} bytes", _show(hanging)),
        "The size of a packet isn't the cause: something that reads the stream takes no more at once, such as a "
        "filter, a proxy with a small buffer or the application; or bursts of packets are dropped.",
        "Diagnose the path behind each proxy; look for limits on the size of a request, and for policers.",
        ExitCode.SHORT if isClosed else ExitCode.TIMED_OUT,
    )


def _late(segments: SegmentSizes, late: SizeProbe, again: SizeProbe) -> Problem:
    """Return what is wrong where large requests are answered late, again and again."""
    _, way, _ = _HOLES.get(again.fate, _HOLES[RequestFate.UNANSWERED])
    packet = (segments.bounds.passed if segments.bounds else 0) + late.headers
    size = f"packets of more than {packet} bytes" if segments.bounds else "large packets"
    seen = [f"{late.size} bytes were answered after {late.seconds:.2f} s, a small request after {late.small:.3f} s"]
    if late.after.sendMSS < late.before.sendMSS:
        seen.append(f"the MSS fell from {late.before.sendMSS} to {late.after.sendMSS} bytes meanwhile")
    return Problem(
        Status.WARN,
        "mtu-recovered",
        f"{size} vanish on the way {way} the server, and TCP gets around it late",
        (*seen, _show(again)),
        "There is an MTU black hole. One end looks for a smaller packet size by itself when nothing is acknowledged "
        "(RFC 4821, net.ipv4.tcp_mtu_probing), and each new connection waits for it.",
        _remedy(late, packet),
    )


def judgeMSS(segments: SegmentSizes) -> Problem | None:
    """Return a note where the segments are smaller than packets may be; None if they aren't."""
    probe = segments.first[0]
    info = probe.before
    possible = info.pathMTU - probe.headers
    if info.sendMSS >= possible or info.pathMTU >= LARGE_MTU:
        return None
    return Problem(
        Status.NOTE,
        "mss-clamped",
        f"TCP sends packets of {info.sendMSS + probe.headers} bytes at most, because the other end announced it so",
        (f"a segment carries {info.sendMSS} bytes, where the path MTU of {info.pathMTU} allows {possible}",),
        "The server's interface has a smaller MTU, or a router in between has changed the MSS in the handshake. That "
        "keeps TCP working over a tunnel, and does no harm.",
        "Nothing, unless the path should carry larger packets: then look for a rule that sets the MSS.",
    )


def _remedy(probe: SizeProbe, packet: int) -> str:
    mss = packet - (40 if probe.headers < 60 else 60)
    return (
        f"{ICMP}. Until then: clamp the MSS to {mss} where the tunnel begins, or lower the MTU of the interface to "
        f"{packet} bytes."
    )


def _show(probe: SizeProbe) -> str:
    """Return what the kernel says of a request that hangs."""
    info = probe.after
    return (
        f"{probe.size} bytes, after {probe.seconds:.1f} s: {probe.fate.value}; TCP_INFO has unacknowledged "
        f"{info.unacknowledged}, lost {info.lost}, backoff {info.backoff}, path MTU {info.pathMTU}, MSS {info.sendMSS}"
    )

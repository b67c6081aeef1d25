"""The check `mtu`: how large packets may be, and on which way larger ones vanish."""

from typing import Any

from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.sizes.segments import (
    TLS_RECORD,
    Fate,
    HandshakeHangs,
    SegmentSizes,
    SizeProbe,
    measureSegments,
)
from echoup.client.diagnose.sizes.wholedatagrams import DatagramSizes, measureDatagrams
from echoup.client.diagnose.together import together
from echoup.client.exitcodes import ExitCode
from echoup.plurals import counted

LARGE_MTU = 16384
"""From this path MTU on, it isn't the peer that limits a segment: half of its window does (Linux, on loopback)."""

_BLACK_HOLE = (
    "A router or a tunnel on the way has a smaller MTU and drops what is larger, and its ICMP messages (fragmentation "
    "needed, packet too big) don't arrive. Small messages pass, large ones hang."
)
_REMEDY = (
    "Let ICMP type 3 code 4 and ICMPv6 type 2 pass every firewall on the way. Until then: clamp the MSS to {mss} "
    "where the tunnel begins, or lower the MTU of the interface to {packet} bytes."
)


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Send requests over TCP, and datagrams that must not be cut, of growing sizes, and find where they stop."""
    tell("sending packets of growing sizes")
    segments: SegmentSizes | HandshakeHangs | None = None
    datagrams: DatagramSizes

    async def measureTCP() -> None:
        nonlocal segments
        try:
            segments = None if path.isDatagram else await measureSegments(path)
        except HandshakeHangs as hangs:
            segments = hangs

    async def measureUDP() -> None:
        nonlocal datagrams
        datagrams = await measureDatagrams(path)

    await together([measureTCP(), measureUDP()])
    if isinstance(segments, HandshakeHangs):
        return _describeHandshake(segments, datagrams)
    return describe(segments, datagrams, bool(getattr(path.target, "security", None)))


def _describeHandshake(hangs: HandshakeHangs, datagrams: DatagramSizes) -> Finding:
    """Return what was found where not even the TLS handshake passes."""
    isThere = hangs.fate is Fate.UNACKNOWLEDGED
    info = hangs.info
    text = f"the TLS handshake hangs: large packets vanish on the way {'to' if isThere else 'back from'} the server"
    seen = [f"TCP_INFO has unacknowledged {info.unacknowledged}, lost {info.lost}, backoff {info.backoff}"]
    if info.outOfOrder:
        seen.append(f"{counted(info.outOfOrder, 'segment')} of the server's came, and what it had sent before didn't")
    advice = "Let ICMP type 3 code 4 and ICMPv6 type 2 pass every firewall on the way, or clamp the MSS."
    if not datagrams.why:
        seen.append(f"UDP with DF passes in packets of up to {datagrams.largest + datagrams.headers} bytes")
    cause = "mtu-black-hole" if isThere else "mtu-black-hole-back"
    problem = Problem(Status.FAIL, cause, text, tuple(seen), _BLACK_HOLE, advice, ExitCode.TIMED_OUT)
    return Finding(text, (problem,), {"tcp": None, "udp": _datagramFigures(datagrams)})


def describe(segments: SegmentSizes | None, datagrams: DatagramSizes, isTLS: bool = False) -> Finding:
    """Return what was found with TCP, if that was possible, and with UDP; with `isTLS` the sizes are approximate."""
    problems: list[Problem] = []
    found: Problem | None = None
    said: list[str] = []
    figures: dict[str, Any] = {"tcp": None, "udp": None}
    if segments:
        if all(probe.fate is Fate.CLOSED for probe in segments.first):
            return skipped("the server closes a connection after the first answer, so nothing larger can be sent")
        figures["tcp"] = _figures(segments)
        if found := _hole(segments, isTLS) or _late(segments):
            problems.append(found)
            said.append(found.text)
        else:
            said.append(_passing(segments))
        if note := _clamp(segments, datagrams):
            problems.append(note)
    if datagrams.why:
        if not segments:
            return skipped(datagrams.why)
        said.append(datagrams.why)
    else:
        figures["udp"] = _datagramFigures(datagrams)
        if silent := _silent(datagrams):
            if not found:
                problems.append(silent)
                said.append(silent.text)
            else:
                said.append(f"UDP packets of more than {datagrams.largest + datagrams.headers} bytes, too")
        else:
            said.append(_whole(datagrams))
    return Finding("; ".join(said), tuple(problems), figures)


def _hole(segments: SegmentSizes, isTLS: bool) -> Problem | None:
    """Return what is wrong where requests hang that are larger than some size; None if none does."""
    hanging, again, bounds = segments.hanging, segments.again, segments.bounds
    if not (hanging and again) or hanging.isPassed:
        return None
    if hanging.size > segments.mss:
        return _limit(hanging, segments)
    about = "about " if isTLS or not (bounds and bounds.isExact) else ""
    passed = bounds.passed if bounds else max((p.size for p in segments.first if p.isPassed), default=0)
    packet = passed + hanging.headers + (TLS_RECORD if isTLS else 0)
    seen = [f"requests of up to {about}{counted(passed, 'byte')}, in one segment, are answered; larger ones hang"]
    if not bounds:
        seen.append("some larger ones pass, so there may be several paths, or other losses")
    seen.append(_shown(hanging))
    remedy = _REMEDY.format(mss=packet - (40 if hanging.headers < 60 else 60), packet=packet)
    if hanging.fate is Fate.UNACKNOWLEDGED:
        return Problem(
            Status.FAIL,
            "mtu-black-hole",
            f"packets of more than {about}{packet} bytes vanish on the way to the server (an MTU black hole)",
            tuple(seen),
            _BLACK_HOLE,
            f"{remedy} With net.ipv4.tcp_mtu_probing=2 this machine gets around it.",
            ExitCode.TIMED_OUT,
        )
    if hanging.fate is Fate.UNANSWERED:
        isProven = any(probe.after.outOfOrder > probe.before.outOfOrder for probe in segments.first)
        if isProven:
            seen.append("the last, short segment of a larger reply came, and the full ones before it didn't")
        else:
            seen.append("what hangs was acknowledged in full, so it isn't lost on the way there")
        otherwise = "" if isProven else " Or a proxy in between has acknowledged it, and the hole is behind the proxy."
        return Problem(
            Status.FAIL,
            "mtu-black-hole-back",
            f"packets of more than {about}{packet} bytes vanish on the way back from the server (an MTU black hole)",
            tuple(seen),
            _BLACK_HOLE + otherwise,
            f"{remedy} With net.ipv4.tcp_mtu_probing=2 the server gets around it.",
            ExitCode.TIMED_OUT,
        )
    return _limit(hanging, segments)


def _limit(hanging: SizeProbe, segments: SegmentSizes) -> Problem:
    """Return what is wrong where what stops isn't a packet because of its size."""
    bounds = segments.bounds
    passed = bounds.passed if bounds else max((p.size for p in segments.first if p.isPassed), default=0)
    fate = "close the connection" if hanging.fate is Fate.CLOSED else "hang"
    return Problem(
        Status.FAIL,
        "size-limit",
        f"requests of up to {counted(passed, 'byte')} are answered, larger ones {fate}",
        (f"one segment carries {segments.mss} bytes", _shown(hanging)),
        "The size of a packet isn't the cause: something that reads the stream takes no more at once, such as a "
        "filter, a proxy with a small buffer or the application; or bursts of packets are dropped.",
        "Diagnose the path behind each proxy; look for limits on the size of a request, and for policers.",
        ExitCode.SHORT if hanging.fate is Fate.CLOSED else ExitCode.TIMED_OUT,
    )


def _late(segments: SegmentSizes) -> Problem | None:
    """Return what is wrong where large requests are answered late, again and again; None if they aren't."""
    hanging, again, bounds = segments.hanging, segments.again, segments.bounds
    if not (hanging and again) or not hanging.isPassed:
        return None
    there = again.fate is Fate.UNACKNOWLEDGED
    packet = (bounds.passed if bounds else 0) + hanging.headers
    size = f"packets of more than {packet} bytes" if bounds else "large packets"
    seen = [
        f"{hanging.size} bytes were answered after {hanging.seconds:.2f} s, a small request after {hanging.small:.3f} s"
    ]
    if hanging.after.sendMSS < hanging.before.sendMSS:
        seen.append(f"the MSS fell from {hanging.before.sendMSS} to {hanging.after.sendMSS} bytes meanwhile")
    return Problem(
        Status.WARN,
        "mtu-recovered",
        f"{size} vanish on the way {'to' if there else 'back from'} the server, and TCP gets around it late",
        (*seen, _shown(again)),
        "There is an MTU black hole. One end looks for a smaller packet size by itself when nothing is acknowledged "
        "(RFC 4821, net.ipv4.tcp_mtu_probing), and each new connection waits for it.",
        _REMEDY.format(mss=packet - (40 if hanging.headers < 60 else 60), packet=packet),
    )


def _clamp(segments: SegmentSizes, datagrams: DatagramSizes) -> Problem | None:
    """Return a note where the segments are smaller than packets may be; None if they aren't."""
    probe = segments.first[0]
    info = probe.before
    possible = info.pathMTU - probe.headers
    if info.sendMSS >= possible or info.pathMTU >= LARGE_MTU:
        return None
    seen = [f"a segment carries {info.sendMSS} bytes, where the path MTU of {info.pathMTU} allows {possible}"]
    if not datagrams.why:
        seen.append(f"UDP passes in packets of up to {datagrams.largest + datagrams.headers} bytes")
    return Problem(
        Status.NOTE,
        "mss-clamped",
        f"TCP sends packets of {info.sendMSS + probe.headers} bytes at most, because the other end announced it so",
        tuple(seen),
        "The server's interface has a smaller MTU, or a router in between has changed the MSS in the handshake. That "
        "keeps TCP working over a tunnel, and does no harm.",
        "Nothing, unless the path should carry larger packets: then look for a rule that sets the MSS.",
    )


def _silent(datagrams: DatagramSizes) -> Problem | None:
    """Return what is wrong where large datagrams vanish, and no router says so; None if they don't."""
    if not datagrams.isLimited or datagrams.isAnnounced:
        return None
    packet, interface = (size + datagrams.headers for size in (datagrams.largest, datagrams.bound))
    about = "" if datagrams.isExact else "about "
    return Problem(
        Status.WARN,
        "mtu-silent",
        f"UDP packets of more than {about}{packet} bytes vanish, and no router says so",
        (
            f"with DF, datagrams of up to {about}{datagrams.largest} bytes are answered",
            f"the interface takes {datagrams.bound} bytes, in a packet of {interface}",
        ),
        "The path MTU is smaller than that of the interface, and ICMP (fragmentation needed, packet too big) doesn't "
        "arrive here. TCP works only where the MSS is clamped; QUIC, VPNs and DNS over UDP hang or fall back.",
        "Let ICMP type 3 code 4 and ICMPv6 type 2 pass every firewall on the way, or lower the MTU of the interface to "
        f"{packet} bytes.",
    )


def _passing(segments: SegmentSizes) -> str:
    """Return what passes over TCP, in words."""
    largest = max(segments.first, key=lambda probe: probe.size)
    info = largest.after
    learnt = max(probe.before.pathMTU for probe in segments.first)
    mtu = f"path MTU {info.pathMTU}" + (f", learnt from {learnt}" if info.pathMTU < learnt else "")
    clamped = " (clamped)" if _clamp(segments, DatagramSizes("-")) else ""
    return f"TCP: {mtu}, MSS {info.sendMSS}{clamped}, {largest.size} bytes at once pass"


def _whole(datagrams: DatagramSizes) -> str:
    """Return what passes over UDP, in words."""
    packet = datagrams.largest + datagrams.headers
    why = "as a router says (ICMP)" if datagrams.isLimited else "all that the interface takes"
    return f"UDP with DF: packets of up to {packet} bytes, {why}"


def _shown(probe: SizeProbe) -> str:
    """Return what the kernel says of a request that hangs."""
    info = probe.after
    return (
        f"{probe.size} bytes, after {probe.seconds:.1f} s: {probe.fate.value}; TCP_INFO has unacknowledged "
        f"{info.unacknowledged}, lost {info.lost}, backoff {info.backoff}, path MTU {info.pathMTU}, MSS {info.sendMSS}"
    )


def _figures(segments: SegmentSizes) -> dict[str, Any]:
    """Return what was measured over TCP."""
    probe = max(segments.first, key=lambda each: each.size)
    return {
        "pathMTU": probe.after.pathMTU,
        "sendMSS": probe.after.sendMSS,
        "receiveMSS": probe.after.receiveMSS,
        "advertisedMSS": probe.before.advertisedMSS,
        "headers": probe.headers,
        "largest": segments.bounds.passed if segments.bounds else None,
        "requests": [
            {
                "size": each.size,
                "fate": each.fate.value,
                "seconds": each.seconds,
                "unacknowledged": each.after.unacknowledged,
                "lost": each.after.lost,
                "backoff": each.after.backoff,
                "retransmits": each.after.retransmits - each.before.retransmits,
            }
            for each in segments.first
        ],
    }


def _datagramFigures(datagrams: DatagramSizes) -> dict[str, Any] | None:
    """Return what was measured over UDP."""
    if datagrams.why:
        return None
    return {
        "largest": datagrams.largest,
        "packet": datagrams.largest + datagrams.headers,
        "interface": datagrams.bound + datagrams.headers,
        "isExact": datagrams.isExact,
        "isAnnounced": datagrams.isAnnounced,
    }

"""The check `mtu`: how large packets may be, and on which way larger ones vanish."""

from typing import Any

from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.sizes.segmentproblems import ICMP, judgeHandshake, judgeMSS, judgeSegments
from echoup.client.diagnose.sizes.segments import HandshakeHangs, RequestFate, SegmentSizes, measureSegments
from echoup.client.diagnose.sizes.wholedatagrams import DatagramSizes, measureDatagrams
from echoup.client.diagnose.together import together


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Send requests over TCP, and datagrams that must not be cut, of growing sizes, and find where they stop."""
    tell("sending packets of growing sizes")
    isTLS = bool(getattr(path.target, "security", None))
    segments: SegmentSizes | HandshakeHangs | None = None
    datagrams = DatagramSizes()

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
    finding = describe(segments, datagrams, isTLS)
    if isinstance(segments, HandshakeHangs) and finding.problems:
        path.obstacle = "the TLS handshake hangs because of what mtu found"
    return finding


def describe(segments: SegmentSizes | HandshakeHangs | None, datagrams: DatagramSizes, isTLS: bool = False) -> Finding:
    """Return what was found with TCP, if that was possible, and with UDP; with `isTLS` the sizes are approximate."""
    figures: dict[str, Any] = {"tcp": None, "udp": datagrams.figures}
    problems: list[Problem | None] = []
    said: list[str] = []
    if isinstance(segments, HandshakeHangs):
        if not (hanging := judgeHandshake(segments.info)):
            return skipped("the TLS handshake hangs, see tls")
        problems.append(hanging)
    elif segments:
        if all(probe.fate is RequestFate.CLOSED for probe in segments.first):
            return skipped("the server closes a connection after the first answer, so nothing larger can be sent")
        figures["tcp"] = segments.figures
        problems.append(judgeSegments(segments, isTLS))
    elif datagrams.why:
        return skipped(datagrams.why)
    hole = problems[0] if problems else None
    if hole:
        said.append(hole.text)
    elif isinstance(segments, SegmentSizes):
        said.append(segments.summary)
    if isinstance(segments, SegmentSizes):
        problems.append(judgeMSS(segments))
    if datagrams.isSilent and not hole:
        problems.append(_judgeDatagrams(datagrams))
    return Finding("; ".join([*said, datagrams.summary]), tuple(filter(None, problems)), figures)


def _judgeDatagrams(datagrams: DatagramSizes) -> Problem:
    """Return what is wrong where large datagrams vanish, and no router says so."""
    about = "" if datagrams.isExact else "about "
    return Problem(
        Status.WARN,
        "mtu-silent",
        datagrams.summary,
        (
            f"with DF, datagrams of up to {about}{datagrams.largest} bytes are answered",
            f"the interface takes {datagrams.bound} bytes, in a packet of {datagrams.bound + datagrams.headers}",
        ),
        "The path MTU is smaller than that of the interface, and ICMP (fragmentation needed, packet too big) doesn't "
        "arrive here. TCP works only where the MSS is clamped; QUIC, VPNs and DNS over UDP hang or fall back.",
        f"{ICMP}, or lower the MTU of the interface to {datagrams.packet} bytes.",
    )

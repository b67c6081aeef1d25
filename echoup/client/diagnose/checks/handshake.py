"""The check `tls`: what the server presents, whether that is trusted, and which handshakes work."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from twisted.internet.task import deferLater

from echoup.addresses import peerName
from echoup.client.connect.resolve import versionOf
from echoup.client.diagnose.amounts import time
from echoup.client.diagnose.finding import Finding, Problem, Status, worst
from echoup.client.diagnose.handshakes.chain import ChainCertificate, parseChain
from echoup.client.diagnose.handshakes.failure import UNCLEAR, causeOf, judgeFailure
from echoup.client.diagnose.handshakes.handshake import Handshake, shakeHands
from echoup.client.diagnose.handshakes.trust import (
    describeChain,
    judgeDates,
    judgePin,
    judgeTrust,
    trustedOrganizations,
)
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.sizes.segmentproblems import judgeHandshake
from echoup.client.diagnose.together import together
from echoup.client.exitcodes import PathError
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from echoup.tls.certificateinfo import fingerprints

NO_NAME = "192.0.2.1"
"""What to ask for to send no server name: an address isn't sent (RFC 6066, 3)."""

OTHER_NAME = "echoup.invalid"
"""A name that no server has (RFC 6761, 6.4)."""

PROTOCOLS = ["h2", "http/1.1"]
"""What HTTP servers agree on (ALPN, RFC 7301); an echo service knows none of them."""

BREATH = 0.3
"""Seconds before a handshake is made again during which the server closed the connection."""

ONLY_12, ONLY_13, OFFERING, VERIFIED, RESUMED = "TLS 1.2", "TLS 1.3", "ALPN", "verified", "resumed"
WITHOUT_NAME, WITH_OTHER_NAME = "no name", "other name"
"""The handshakes that differ from the first: with one version only, with PROTOCOLS, and so on."""

VERSIONS = {ONLY_12: ssl.TLSVersion.TLSv1_2, ONLY_13: ssl.TLSVersion.TLSv1_3}


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Shake hands, first with any certificate accepted, then in other ways."""
    target = path.target
    assert isinstance(target, StreamTarget), "the registry asks for TLS"
    assert target.security, "likewise"
    given = replace(target.security, serverName=target.security.serverName or target.host or None, pin=None)
    accepting = replace(given, insecure=True)
    tell("shaking hands")
    first = await _shake(path, accepting, asks=True)
    if first.error:
        return await _explain(path, accepting, first, first.error)
    tell("shaking hands in other ways")
    others = await _vary(path, given, accepting, first)
    return _judge(given, target.security.pin, first, others)


async def _explain(path: PathUnderTest, accepting: Security, first: Handshake, error: PathError) -> Finding:
    """Return why no handshake works."""
    path.obstacle = "no TLS handshake"
    if first.isSilent and (lost := judgeHandshake(first.tcp)):
        return Finding(lost.text, (lost,), {"versions": {}})  # the versions alone have smaller packets
    cause = causeOf(first, bool(accepting.cert))
    alone: dict[str, Handshake] = {}
    if cause in UNCLEAR:
        alone = await _shakeAll(
            path, {name: _only(accepting, version) for name, version in VERSIONS.items()}, not first.isSilent
        )
    problem = judgeFailure(cause, error, alone, path.scope.timeout)
    return Finding(problem.text, (problem,), {"versions": _works(alone)})


async def _vary(path: PathUnderTest, given: Security, accepting: Security, first: Handshake) -> dict[str, Handshake]:
    """Shake hands in all other ways."""
    ways = {name: _only(accepting, version) for name, version in VERSIONS.items()}
    ways[OFFERING] = replace(accepting)
    ways[OFFERING].context.set_alpn_protocols(PROTOCOLS)
    if not given.insecure:
        ways[VERIFIED] = given
    if _isName(given.serverName):
        ways[WITHOUT_NAME] = replace(accepting, serverName=NO_NAME)
        ways[WITH_OTHER_NAME] = replace(accepting, serverName=OTHER_NAME)
    made = await _shakeAll(path, ways)
    if first.session:
        made[RESUMED] = await _shake(path, accepting, first.session)
    return made


async def _shakeAll(path: PathUnderTest, ways: Mapping[str, Security], again: bool = True) -> dict[str, Handshake]:
    """Shake hands in each of `ways`, at the same time; `again` where that failed, to tell a fault from chance."""
    made = dict(zip(ways, await together(shakeHands(path, security) for security in ways.values()), strict=True))
    failed = [name for name, each in made.items() if each.error] if again else []
    if any(made[name].isClosed for name in failed):
        path.places.narrow()
        await deferLater(path.clock, BREATH)
    return made | dict(zip(failed, await together(shakeHands(path, ways[name]) for name in failed), strict=True))


async def _shake(
    path: PathUnderTest, security: Security, session: ssl.SSLSession | None = None, *, asks: bool = False
) -> Handshake:
    """Shake hands; again where that failed, to tell a fault from chance."""
    made = await shakeHands(path, security, session=session, asks=asks)
    if not made.error:
        return made
    if made.isClosed:
        await deferLater(path.clock, BREATH)
    return await shakeHands(path, security, session=session, asks=asks)


def _only(security: Security, version: ssl.TLSVersion) -> Security:
    """Return `security` with one version of TLS."""
    alone = replace(security)
    alone.context.minimum_version = alone.context.maximum_version = version
    return alone


def _isName(serverName: str | None) -> bool:
    """Return whether `serverName` is sent: an address isn't (RFC 6066, 3)."""
    return bool(serverName) and versionOf(peerName(serverName or "")) is None


def _works(alone: Mapping[str, Handshake]) -> dict[str, bool | None]:
    """Return which versions of TLS work when they are offered alone; None where nothing came."""
    return {name: None if each.isSilent else not each.error for name, each in alone.items()}


def _judge(given: Security, pin: str | None, first: Handshake, others: Mapping[str, Handshake]) -> Finding:
    """Return what the handshakes say."""
    now = datetime.now(UTC)
    verified = others.get(VERIFIED)
    shown = verified if verified and verified.leaf else first
    chain = parseChain(shown.chain)
    problems: list[Problem] = []
    refused = verified and verified.tlsError
    if isinstance(refused, ssl.SSLCertVerificationError):
        problems.append(judgeTrust(refused, chain, given.serverName or "", trustedOrganizations(given.context), now))
    elif verified and verified.error:
        raise verified.error
    isTrusted = None if verified is None else not verified.error
    isPinned = pin in fingerprints(shown.leaf)
    if pin and not isPinned:
        problems.append(judgePin(pin, chain, isTrusted, now))
    problems += [*judgeDates(chain, now), *_notes(first, others, now)]
    figures = {
        "seconds": first.seconds,
        "version": first.version,
        "cipher": first.cipher,
        "protocol": others[OFFERING].protocol,
        "serverName": given.serverName if _isName(given.serverName) else None,
        "isTrusted": isTrusted,
        "isPinned": isPinned if pin else None,
        "chain": [each.figures() for each in chain],
        "versions": _works({name: others[name] for name in VERSIONS}),
        "resumption": {"isOffered": bool(first.session), "works": RESUMED in others and others[RESUMED].isResumed},
        "withoutName": _compare(first, others.get(WITHOUT_NAME)),
        "withOtherName": _compare(first, others.get(WITH_OTHER_NAME)),
    }
    return Finding(_summarize(first, others, chain, isTrusted, problems, now), tuple(problems), figures)


def _compare(first: Handshake, other: Handshake | None) -> str | None:
    """Return which certificate came in the `other` handshake, in a word; None if it wasn't made, or says nothing."""
    if other is None or other.isSilent:
        return None
    if other.error:
        return "refused"
    return "same certificate" if other.leaf == first.leaf else "other certificate"


def _notes(first: Handshake, others: Mapping[str, Handshake], now: datetime) -> Iterator[Problem]:
    """Yield what is worth knowing of handshakes that differ."""
    if _works(others)[ONLY_13] is False:
        error = others[ONLY_13].error
        yield Problem(
            Status.NOTE,
            "no-tls-1.3",
            "the server does not speak TLS 1.3",
            (f"TLS 1.3 alone: {error.reason if error else ''}", f"TLS 1.2 with {first.cipher} works"),
            "TLS 1.2 is safe, but takes one round trip more, and shows the certificate to everyone on the path.",
            "Enable TLS 1.3 on what ends TLS there.",
        )
    without = _compare(first, others.get(WITHOUT_NAME))
    if without in ("refused", "other certificate"):
        yield Problem(
            Status.NOTE,
            "server-name-needed",
            "without a server name the handshake fails"
            if without == "refused"
            else "without a server name another certificate comes",
            describeChain(parseChain(others[WITHOUT_NAME].chain), now),
            "Clients that send no name (SNI), such as those that connect to the address, don't get this server.",
            "Have such clients send the name; health checks often don't.",
        )
    resumed = others.get(RESUMED)
    # A ticket makes the first packet larger, so it may be what vanishes in a black hole.
    if resumed and resumed.error and not (resumed.isSilent and judgeHandshake(resumed.tcp)):
        yield Problem(
            Status.WARN,
            "resumption-fails",
            "a client that resumes its session is not served",
            (f"resuming: {resumed.error.reason}", "without that, the handshake works"),
            "The server, or one of several behind a balancer, gives out sessions and then refuses them.",
            "Give the servers the same ticket key, or turn resumption off; see what the server logs.",
        )


def _summarize(
    first: Handshake,
    others: Mapping[str, Handshake],
    chain: Sequence[ChainCertificate],
    isTrusted: bool | None,
    problems: Sequence[Problem],
    now: datetime,
) -> str:
    """Return the outcome in one line."""
    if problems:
        return worst(problems).text
    said = [f"{first.version} with {first.cipher} in {time(first.seconds)}"]
    if chain:
        trust = "not judged" if isTrusted is None else "trusted"
        said.append(f"{chain[0].subject}, {trust}, for {chain[0].info.daysLeft(now):.0f} more days")
    if protocol := others[OFFERING].protocol:
        said.append(f"it speaks {protocol}")
    if RESUMED in others:
        said.append("sessions are resumed" if others[RESUMED].isResumed else "sessions are not resumed")
    return "; ".join(said)

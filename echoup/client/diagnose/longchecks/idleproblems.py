"""What the check `idle` says about a cut."""

from dataclasses import replace

from echoup.client.diagnose.amounts import time
from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.longchecks.bisection import Cut, IdleFate
from echoup.plurals import counted

_SUSPECTS = "docs/diagnose.md lists the usual suspects by their times"

_RAISE = f"raise the idle timeout of the firewall, NAT or load balancer on the way ({_SUSPECTS})"

_KINDS = {
    IdleFate.CLOSED: Problem(
        Status.NOTE,
        "idle-closed",
        "idle connections are closed in order (FIN)",
        (),
        "A program, a proxy or the server itself, closes them in order, and the client is told: no fault of the path.",
        "If they are to live longer, raise the server's --idle-timeout (of echoup, 600 s by default), or the timeout "
        f"of the proxy before it ({_SUSPECTS}).",
    ),
    IdleFate.RESET: Problem(
        Status.WARN,
        "idle-reset",
        "idle connections are reset (RST)",
        (),
        "Something on the way, or the server, gives idle connections up and says so at that moment.",
        f"Send something more often, or {_RAISE}.",
    ),
    IdleFate.CLOSED_AT_PROBE: Problem(
        Status.WARN,
        "idle-closed-late",
        "idle connections are dead, and closed (FIN) at the next byte,",
        (),
        "What answers to the client's TCP, such as a proxy, lost its connection to the server without a word. What is "
        "sent then is lost.",
        f"Send something more often, or {_RAISE}.",
    ),
    IdleFate.RESET_AT_PROBE: Problem(
        Status.WARN,
        "idle-rejected",
        "idle connections are dead, and reset (RST) at the next byte,",
        (),
        "Something on the way forgets idle connections without a word and rejects what is sent then: a firewall, a NAT "
        "or a load balancer. What is sent then is lost.",
        f"Send something more often, or {_RAISE}.",
    ),
    IdleFate.SILENT: Problem(
        Status.WARN,
        "idle-silent",
        "idle connections are cut silently",
        (),
        "Something on the way, a firewall, a NAT or a load balancer, forgets idle connections and drops what is sent "
        "then. Neither end is told, so a client waits until its own timeout; TCP gives up after about 15 minutes.",
        f"Send something more often, or {_RAISE}; let it reject instead of drop, so that clients are told.",
    ),
    IdleFate.UNANSWERED: Problem(
        Status.WARN,
        "idle-unanswered",
        "idle connections are dead, though TCP is acknowledged,",
        (),
        "What acknowledges, a proxy or load balancer, does not know yet that its own connection to the server is dead: "
        "something between these two forgets idle connections.",
        f"Look between the proxy and the server: there, {_RAISE}, or let the proxy use TCP keepalive.",
    ),
}

_DATAGRAMS = Problem(
    Status.WARN,
    "idle-datagrams-silent",
    "idle UDP sockets get no answer",
    (),
    "A firewall or NAT on the way forgets an idle UDP flow and does not take it up again from the same port.",
    "Send something more often, or use a new socket after a pause; raise the UDP timeout on the way.",
)


def problems(cut: Cut) -> list[Problem]:
    """Return what is wrong."""
    found = []
    if cut.deaths:
        known = _DATAGRAMS if cut.protocol == "UDP" else _KINDS[cut.fate]
        low, high = cut.bounds
        after, within = time((low + high) / 2), time((high - low) / 2)
        lived = f"the longest that lived was idle for {time(cut.lived)}" if cut.lived else "none lived"
        keep = f"Use TCP keepalive, more often than every {after}; by default Linux waits 2 h. " * cut.isKept
        found.append(
            replace(
                known,
                text=f"{known.text} after {after} ± {within}",
                seen=(*dict.fromkeys(map(str, cut.deaths[:3])), lived, *_kept(cut)),
                advice=f"{keep}{known.advice}",
            )
        )
    if dead := cut.outlived:
        what = counted(len(dead), f"idle {'socket' if cut.protocol == 'UDP' else 'connection'}")
        found.append(
            Problem(
                Status.WARN,
                "idle-cut-once",
                f"{what} died after {time(dead[0].seconds)}, though others lived for {time(cut.lived)}",
                tuple(map(str, dead[:3])),
                "No idle timeout explains that: there was one event, such as a restart or a failover, or the ways of "
                "the connections differ.",
                "See what happened at that time, and repeat the check.",
            )
        )
    return found


def summary(cut: Cut) -> str:
    """Return what the line of the check says of it."""
    if texts := [problem.text for problem in problems(cut)]:
        return "; ".join([*texts, *_kept(cut)])
    if cut.protocol == "UDP":
        return f"UDP is answered after {time(cut.lived)} idle"
    return f"connections live idle for {time(cut.lived)}"


def _kept(cut: Cut) -> tuple[str, ...]:
    """Return whether TCP keepalive helps; nothing if that wasn't tried."""
    if not cut.kept:
        return ()
    return (f"TCP keepalive every {cut.keepalive} s {'keeps' if cut.isKept else 'does not keep'} them alive",)

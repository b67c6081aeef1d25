"""A path of two hops: a client's network, a router's and a server's, each a network namespace.

    client 10.1.0.2 -- c0, c1 -- 10.1.0.1 router 10.2.0.1 -- s1, s0 -- 10.2.0.2 server
          fd00:1::2              fd00:1::1     fd00:2::1               fd00:2::2

Packets on it have at most 1500 bytes. The namespaces end with the processes that hold them, so nothing stays when a
test is killed. What makes the faults: `Node.filter`, `Node.set`, and tc(8) with `Node.run`.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.namespaces import setNetwork, whyNoNetwork
from tests.support.waiting import eventually

CLIENT, SERVER = "10.1.0.2", "10.2.0.2"
CLIENT6, SERVER6 = "fd00:1::2", "fd00:2::2"
"""The addresses of the two ends."""


@dataclass(frozen=True)
class Node:
    """A network namespace."""

    pid: int
    """A process in it."""

    def run(self, *commands: str, data: str | None = None) -> str:
        """Run `commands`, each a line of words, in it, with `data` as input; return what they print."""
        inside = ["nsenter", "-t", str(self.pid), "-n"]
        printed = ""
        for command in commands:
            done = subprocess.run([*inside, *command.split()], input=data, capture_output=True, text=True, check=False)
            assert not done.returncode, f"{command}: {done.stderr}"
            printed += done.stdout
        return printed

    def filter(self, *rules: str, hook: str = "forward", name: str = "faults") -> None:
        """Add an nft chain `name` with `rules` to the `hook` of packets of both versions of IP."""
        lines = [f"type filter hook {hook} priority 0;", *rules]
        chain = "\n".join(lines)
        self.run("nft -f -", data=f"table inet {name} {{ chain {name} {{\n{chain}\n}}\n}}")

    @contextmanager
    def filtered(self, *rules: str, hook: str = "forward") -> Iterator[None]:
        """Add `rules` for a while."""
        self.filter(*rules, hook=hook)
        try:
            yield
        finally:
            self.run("nft delete table inet faults")

    def set(self, **values: object) -> None:
        """Set variables of the kernel in it; `net__ipv4__ip_forward` is one."""
        for variable, value in values.items():
            path = f"/proc/sys/{variable.replace('__', '/')}"
            inside = ["nsenter", "-t", str(self.pid), "-n"]
            subprocess.run([*inside, "tee", path], input=str(value), text=True, stdout=subprocess.DEVNULL, check=True)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put this thread, and the processes that it starts, into it."""
        with Path("/proc/thread-self/ns/net").open("rb") as before, Path(f"/proc/{self.pid}/ns/net").open("rb") as own:
            setNetwork(own.fileno())
            try:
                yield
            finally:
                setNetwork(before.fileno())


@dataclass(frozen=True)
class RoutedNetwork:
    """The nodes of the path; this thread is in the client's."""

    client: Node
    router: Node
    server: Node


@contextmanager
def routedNetwork() -> Iterator[RoutedNetwork]:
    """Make the path, and enter the client's end of it."""
    with ExitStack() as stack:
        client, router, server = (stack.enter_context(_node()) for _ in range(3))
        client.run(f"ip link add c0 type veth peer name c1 netns {router.pid}")
        router.run(f"ip link add s1 type veth peer name s0 netns {server.pid}")
        _setUp(client, "c0", CLIENT, CLIENT6)
        _setUp(router, "c1", "10.1.0.1", "fd00:1::1")
        _setUp(router, "s1", "10.2.0.1", "fd00:2::1")
        _setUp(server, "s0", SERVER, SERVER6)
        router.set(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
        client.run("ip route add default via 10.1.0.1", "ip route add default via fd00:1::1")
        server.run("ip route add default via 10.2.0.1", "ip route add default via fd00:2::1")
        with client.entered():
            yield RoutedNetwork(client, router, server)


def _setUp(node: Node, interface: str, *addresses: str) -> None:
    """Give an interface its addresses, and one that its router can ask its neighbours from."""
    # By itself the kernel adds a link-local address, too, but probes it for a second. Without segmentation in the
    # interface every packet on the path is one that fits its MTU.
    node.run(f"ip link set {interface} addrgenmode none gso_max_segs 1 up")
    for address in (*addresses, f"fe80::{node.pid:x}"):
        node.run(
            f"ip address add {address}/{64 if ':' in address else 24} dev {interface}" + " nodad" * (":" in address)
        )


def whyNoRoutedNetwork() -> str:
    """Return why this process can't make such a path; empty if it can."""
    if why := whyNoNetwork():
        return why
    probe = ["unshare", "--net", "nft", "add", "table", "inet", "probe"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    return f"nft does not work here: {done.stderr}" if done.returncode else ""


@contextmanager
def _node() -> Iterator[Node]:
    """Start a process with a network of its own, in which the loopback interface is up."""
    # It ends with its input, so also when this process is killed.
    with subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE) as holder:
        ours, its = Path("/proc/self/ns/net").readlink(), Path(f"/proc/{holder.pid}/ns/net")
        eventually(lambda: its.readlink() != ours)
        node = Node(holder.pid)
        node.run("ip link set lo up")
        yield node

"""A resolver with a test's own host names."""

from collections.abc import Sequence

from twisted.internet.abstract import isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer


@implementer(IHostnameResolver, IHostResolution)
class Names:
    """A resolver that knows the addresses of some names, and answers synchronously."""

    name = "the only resolution"

    def __init__(self, known: dict[str, list[str]]) -> None:
        self.known = known

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Tell `resolutionReceiver` the addresses of `hostName`."""
        resolutionReceiver.resolutionBegan(self)
        for host in self.known.get(hostName, []):
            kind = IPv6Address if isIPv6Address(host) else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", host, portNumber))
        resolutionReceiver.resolutionComplete()
        return self

    def cancel(self) -> None:
        """Do nothing: the resolution is complete."""

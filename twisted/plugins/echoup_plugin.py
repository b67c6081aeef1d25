"""The `twistd echoup` command, and `--reactor=uvloop`; neither is imported until it is chosen."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

echoup = ServiceMaker("echoup", "echoup.server.tap", "Echo bytes back in upper case.", "echoup")
uvloop = Reactor("uvloop", "echoup.reactor.uvloopreactor", "uvloop's event loop, with its own transports for streams.")

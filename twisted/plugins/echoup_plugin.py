"""The `twistd echoup` command, and `--reactor=uvloop`; nothing of them is imported until they are chosen."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

echoup = ServiceMaker("echoup", "echoup.server.tap", "Echo bytes back in upper case.", "echoup")
uvloop = Reactor("uvloop", "echoup.reactor.uvloopreactor", "uvloop: its event loop, and its transports for streams.")

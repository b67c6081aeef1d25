"""The `twistd echoup` command; nothing of it is imported until it is chosen."""

from twisted.application.service import ServiceMaker

echoup = ServiceMaker("echoup", "echoup.server.tap", "Echo bytes back in upper case.", "echoup")

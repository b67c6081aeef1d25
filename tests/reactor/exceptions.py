"""Twisted's own tests that the reactor does not pass, and why."""

_LOG_CONTEXT = "a log context around each message costs 2.5 us, a quarter of a message"
_AT_ONCE = "the kernel takes the 1000 bytes of the test as soon as a producer is registered, so they never wait"
_LOST_DESCRIPTOR = (
    "epoll forgets a closed descriptor; Twisted skips it on its own reactors with epoll, and on asyncio's"
)
_SENDS_DESCRIPTORS = (
    "its sender doesn't provide IFileDescriptorReceiver, so it gets a stream, which passes no descriptors"
)

EXCEPTIONS = {
    "test_fdset": {"ReactorFDSetTestsBuilder.test_lostFileDescriptor": _LOST_DESCRIPTOR},
    "test_tcp": {
        "TCP4ClientTestsBuilder.test_logPrefix": _LOG_CONTEXT,
        "TCP6ClientTestsBuilder.test_logPrefix": _LOG_CONTEXT,
        "TCPTransportTestsBuilder.test_streamingProducer": _AT_ONCE,
        "AdoptStreamConnectionTestsBuilder.test_streamingProducer": _AT_ONCE,
    },
    "test_unix": {
        "UNIXTestsBuilder.test_logPrefix": _LOG_CONTEXT,
        "UNIXTestsBuilder.test_avoidLeakingFileDescriptors": _SENDS_DESCRIPTORS,
        "UNIXTestsBuilder.test_descriptorDeliveredBeforeBytes": _SENDS_DESCRIPTORS,
        "UNIXTestsBuilder.test_fileDescriptorOverrun": _SENDS_DESCRIPTORS,
        "UNIXTestsBuilder.test_sendFileDescriptor": _SENDS_DESCRIPTORS,
        "UNIXTestsBuilder.test_sendFileDescriptorTriggersPauseProducing": _SENDS_DESCRIPTORS,
        "UNIXAdoptStreamConnectionTestsBuilder.test_streamingProducer": _AT_ONCE,
    },
    "test_tls": {
        "SSLClientTestsMixin.test_logPrefix": _LOG_CONTEXT,
        "StartTLSClientTestsMixin.test_logPrefix": _LOG_CONTEXT,
    },
}
"""Reasons, by module of `twisted.internet.test` and by "Class.test"."""

_A_TURN_LATER = "it ends while the other end is still open, because that end is told a turn later"

PROGRAMS = {
    "twisted.test.test_tcp": {
        "HalfCloseBuggyApplicationTests.test_readNotificationRaises": _A_TURN_LATER,
        "HalfCloseBuggyApplicationTests.test_writeNotificationRaises": _A_TURN_LATER,
        "HalfCloseTests.testCloseWriteCloser": "it reads _tempDataBuffer, which is private",
        "LoopbackTests.test_tcpNoDelay": "uvloop sets TCP_NODELAY on every connection",
    },
}
"""The same for tests of code that is built on reactors, by module and by "Class.test"."""

SUFFIX = "_UvloopReactorTests"
"""What Twisted appends to the name of a class, for each reactor."""

"""Which of Twisted's own reactor tests the reactor doesn't pass, and why."""

_LOG_CONTEXT = "a log context around each message costs 2.5 us, a quarter of what a message costs"
_AT_ONCE = "what is written goes to the kernel at once, so that the 1000 bytes of the test never wait"
_SENDS_DESCRIPTORS = "its sender doesn't provide IFileDescriptorReceiver, and so gets uvloop's transport, which can't"

EXCEPTIONS = {
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
"""By module of `twisted.internet.test` and by "Class.test"."""

_A_TURN_LATER = "it ends while the other end is still open, which hears of that a turn later"

PROGRAMS = {
    "twisted.test.test_tcp": {
        "HalfCloseBuggyApplicationTests.test_readNotificationRaises": _A_TURN_LATER,
        "HalfCloseBuggyApplicationTests.test_writeNotificationRaises": _A_TURN_LATER,
        "HalfCloseTests.testCloseWriteCloser": "it looks at _tempDataBuffer, which is private",
        "LoopbackTests.test_tcpNoDelay": "uvloop sets TCP_NODELAY on every connection",
    },
}
"""The same of tests that are made for no reactor in particular, by module and by "Class.test"."""

SUFFIX = "_UvloopReactorTests"
"""What Twisted appends to the name of a class, for each reactor."""

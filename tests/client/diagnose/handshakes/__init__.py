"""Tests of the TLS handshakes of a diagnosis."""

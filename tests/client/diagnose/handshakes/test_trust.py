"""Why a certificate isn't trusted, where that takes a certificate that is hard to make for real."""

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import trustme
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.handshakes.chain import ChainCertificate, parseChain
from echoup.client.diagnose.handshakes.trust import judgeDates, judgePin, judgeTrust
from tests.support.certificates import inDER

NOW = datetime.now(UTC)
EXPIRED, LOCAL_ISSUER, HOST_MISMATCH, WEAK = 10, 20, 62, 66
"""Of OpenSSL's x509_vfy.h."""


def refusal(code: int) -> ssl.SSLCertVerificationError:
    """Return OpenSSL's error with `code`."""
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, "OpenSSL's words"
    return error


class TrustTests(SynchronousTestCase):
    """`judgeTrust`, `judgeDates` and `judgePin` read the chain that was presented."""

    def setUp(self) -> None:
        """Make a chain of two."""
        intermediate = trustme.CA(organization_name="Theirs")
        der = inDER(intermediate.issue_cert("there.example", not_before=NOW - timedelta(80)))
        (self.leaf,) = parseChain([der])
        info = replace(self.leaf.info, subject="CN=intermediate")
        self.intermediate = replace(self.leaf, info=info, issuerOrganization="Root")

    def judge(self, code: int, *chain: ChainCertificate, trusted: tuple[str, ...] = ()) -> Problem:
        """Return the problem of a chain."""
        return judgeTrust(refusal(code), chain, "there.example", trusted, NOW)

    def test_certificateOfTheAuthorityExpires(self) -> None:
        """The certificate of the chain that has expired, or will soon, is named."""
        old = replace(self.intermediate, info=replace(self.intermediate.info, notAfter=NOW - timedelta(2)))
        problem = self.judge(EXPIRED, self.leaf, old)
        assert problem.text.startswith("the certificate of the authority CN=intermediate expired on ")
        soon = replace(self.intermediate, info=replace(self.intermediate.info, notAfter=NOW + timedelta(2)))
        (problem,) = judgeDates([self.leaf, soon], NOW)
        assert problem.text.startswith("the certificate of the authority CN=intermediate expires in 2.0 days, on ")
        assert problem.status is Status.WARN

    def test_originTellsAMissingIntermediate(self) -> None:
        """A last certificate that says where its issuer is to be had, or whose issuer's organization is trusted."""
        assert self.judge(LOCAL_ISSUER, self.leaf, trusted=("Ours",)).cause == "unknown-authority"
        assert self.judge(LOCAL_ISSUER, self.leaf, trusted=("Theirs",)).cause == "intermediate-missing"
        assert self.judge(LOCAL_ISSUER, replace(self.leaf, hasIssuerURL=True)).cause == "intermediate-missing"
        info = replace(self.leaf.info, subject=self.leaf.info.issuer)
        root = replace(self.leaf, hasIssuerURL=True, info=info)
        assert self.judge(LOCAL_ISSUER, self.leaf, root).cause == "unknown-authority"
        nameless = replace(self.leaf, issuerOrganization="")
        assert self.judge(LOCAL_ISSUER, nameless, trusted=("",)).cause == "unknown-authority"

    def test_certificateWithoutNames(self) -> None:
        """A certificate without names is told; of one with many, the first."""
        problem = self.judge(HOST_MISMATCH, replace(self.leaf, names=()))
        assert "has no names at all" in problem.text
        many = replace(self.leaf, names=tuple(f"{number}.example" for number in range(9)))
        assert "4.example, … (9), not there.example" in self.judge(HOST_MISMATCH, many).text

    def test_otherReasonsAreOpenSSLs(self) -> None:
        """Any other reason is told in OpenSSL's words, and nothing depends on a chain that came."""
        assert self.judge(WEAK, self.leaf).text == "the server's certificate isn't accepted: OpenSSL's words"
        for code in (EXPIRED, LOCAL_ISSUER, HOST_MISMATCH):
            assert self.judge(code).text
        assert judgePin("sha256:00", (), None, NOW).cause == "pin-mismatch"

"""The build hook compiles the accelerator, or says in one line why it does without."""

import sys
import sysconfig
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from hatchling.bridge.app import Application
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from hatch_build import MODULE, CompilingHook
from tests.support.documents import locate


class BuildTests(SynchronousTestCase):
    """A wheel and an editable installation get the accelerator if it can be compiled."""

    def setUp(self) -> None:
        """Make a checkout with the source and an older build."""
        self.root = Path(self.enterContext(TemporaryDirectory()))
        (self.root / "echoup").mkdir()
        (self.root / "echoup/_upper.c").write_bytes(locate("echoup/_upper.c").read_bytes())
        self.built = self.root / MODULE
        self.built.write_text("older")

    def build(self, version: str, **environment: str) -> tuple[dict[str, Any], str]:
        """Run the hook, as far as the collection of the files; return what it tells hatchling, and its warnings."""
        metadata = ProjectMetadata(str(self.root), PluginManager(), {"project": {"name": "echoup", "version": "1"}})
        hook = CompilingHook(str(self.root), {}, None, metadata, str(self.root / "dist"), "wheel", Application())
        data: dict[str, Any] = {"pure_python": True, "force_include": {}}
        with redirect_stderr(StringIO()) as said, patch.dict("os.environ", environment):
            hook.initialize(version, data)
        for path in data["force_include"]:
            assert Path(path).exists()
        hook.finalize(version, data, "")
        for path in data["force_include"]:
            assert not Path(path).exists()
        return data, said.getvalue()

    def needCompiler(self) -> None:
        """Skip where there is no C compiler, or nothing to compile against."""
        if not which("cc"):
            raise SkipTest("cc is missing: gcc")
        if not Path(sysconfig.get_path("include"), "Python.h").exists():
            raise SkipTest("Python.h is missing: python3-dev")

    def test_wheelHasIt(self) -> None:
        """A wheel gets it, under a tag for this platform and every later Python; the checkout stays as it was."""
        self.needCompiler()
        data, said = self.build("standard", CC="cc")
        assert said == ""
        assert list(data["force_include"].values()) == [MODULE]
        assert data["pure_python"] is False
        assert data["tag"].startswith("cp311-abi3-linux_")
        assert self.built.read_text() == "older"

    def test_wheelFitsItsPython(self) -> None:
        """The platform is that of the Python, which may have 32 bits on a kernel of 64."""
        self.needCompiler()
        platforms = ["linux_armv8l", "linux_armv7l", "manylinux_2_36_armv7l", "musllinux_1_2_armv7l"]
        with patch("hatch_build.platform_tags", return_value=platforms):
            data, _ = self.build("standard", CC="cc")
        assert data["tag"] == "cp311-abi3-linux_armv7l"

    def test_checkoutHasIt(self) -> None:
        """For an editable installation the checkout gets it, in place of an older one."""
        self.needCompiler()
        assert self.build("editable", CC="cc") == ({"pure_python": True, "force_include": {}}, "")
        assert self.built.read_bytes().startswith(b"\x7fELF")

    def test_flagsOfTheEnvironment(self) -> None:
        """The compiler is that of $CC, with the options of $CFLAGS."""
        self.needCompiler()
        _, said = self.build("editable", CC="cc -O0", CFLAGS="-include none.h")
        assert "fatal error: none.h: No such file or directory" in said
        assert len(said.splitlines()) == 1

    def test_blankCompiler(self) -> None:
        """A blank $CC counts as none."""
        assert self.build("editable", CC=" ") == self.build("editable", CC="")

    def test_checkoutThatCannotBeChanged(self) -> None:
        """If an editable installation can't replace the older build, one line says so, and it goes on."""
        self.built.unlink()
        self.built.mkdir()
        _, said = self.build("editable", CC="cc")
        assert said == f"echoup: built without the C accelerator ({self.built}: Is a directory); bytes.upper is used\n"

    def test_withoutCompiler(self) -> None:
        """Without a compiler, one line says so; the wheel is for every platform, and the older build is gone."""
        for compiler, why in {"/none -x": "/none: No such file or directory", "false": "false failed"}.items():
            line = f"echoup: built without the C accelerator ({why}); bytes.upper is used\n"
            for version in "standard", "editable":
                assert self.build(version, CC=compiler) == ({"pure_python": True, "force_include": {}}, line)
        assert not self.built.exists()

    def test_otherInterpreters(self) -> None:
        """Interpreters that are not CPython do without; in them, calls of C functions are slow."""
        with patch.object(sys.implementation, "name", "pypy"):
            data, said = self.build("standard", CC="cc")
        assert data["pure_python"]
        assert said == "echoup: built without the C accelerator (this is not CPython); bytes.upper is used\n"

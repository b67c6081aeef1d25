"""Run podman, with its images, containers and networks in one folder."""

import fcntl
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tests.support.baseimage import makeBase
from tests.support.leftovers import MARK

CHECKOUT = Path(__file__).parents[2]
IMAGE = "echoup"
HARDENED = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
"""The options of a container without a writable file system and without privileges."""
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_HAPROXY = """
FROM {base}
USER haproxy
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
"""
_PROMETHEUS = """
FROM {base}
COPY prometheus /bin/prometheus
RUN install -d -o 65534 -g 65534 /prometheus
USER 65534:65534
VOLUME /prometheus
ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
"""


def missing() -> str:
    """Return what this machine lacks for building and running images, or an empty string."""
    if os.geteuid():
        return "root is missing: run it as root"
    if not shutil.which("dpkg-query") or not shutil.which("unshare"):
        return "Debian is missing: the base of the images is made of its packages"
    if subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode:
        return "CAP_SYS_ADMIN is missing: a network of one's own takes it"
    for package in (CHECKOUT / ".ci/packages-image").read_text().split():
        query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
        isInstalled = subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"
        if not isInstalled and not (package == "kubernetes-client" and shutil.which("kubectl")):
            return f"{package} is missing: apt-get install {package}"
    return ""


def program(name: str) -> str | None:
    """Return the path of a program, next to this Python or on PATH."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def run(
    *command: str | Path,
    data: bytes = b"",
    stdin: IO[bytes] | None = None,
    codes: Sequence[int] = (0,),
    environment: dict[str, str] | None = None,
) -> bytes:
    """Run a command in the checkout and return its output; its exit code must be one of `codes`."""
    given = subprocess.Popen(
        command,
        stdin=stdin or subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=CHECKOUT,
        env=environment,
    )
    with given as process:
        try:
            output, errors = process.communicate(None if stdin else data, timeout=600)
        except BaseException:
            process.kill()
            raise
    if process.returncode not in codes:
        tail = (output + errors)[-5000:].decode(errors="backslashreplace")
        raise AssertionError(f"{command} exits with {process.returncode}\n{tail}")
    return output


def baseOf(dockerfile: Path = CHECKOUT / "docker/Dockerfile") -> str:
    """Return the base of the image that `dockerfile` builds."""
    return dockerfile.read_text().rpartition("\nFROM ")[2].split()[0]


def answers() -> bool:
    """Return whether the service on port 8081 answers."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", 8081), 2) as connection:
        connection.sendall(b"hello")
        return connection.recv(5) == b"HELLO"
    return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder, after waiting for another process that holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Podman:
    """The podman command, with all its files in one folder.

    It pulls no image. It runs runc, because crun refuses mixed versions of control groups. Containers have this
    process's limits, because higher ones take CAP_SYS_RESOURCE. Health checks run only on request: podman needs systemd
    to repeat them.
    """

    def __init__(self, folder: Path) -> None:
        """Write the configuration into `folder`."""
        self.folder = folder
        self.seconds: dict[str, float] = {}
        """The seconds that each image took to build, by name."""
        files, processes = (resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
        numbers = int(Path("/proc/sys/kernel/pid_max").read_text())
        limits = {
            "nofile": files if files > 0 else 2**20,
            "nproc": min(processes, numbers) if processes > 0 else numbers,
        }
        contents = {
            "storage": f"""
                [storage]
                driver = "overlay"
                graphroot = "{folder}/storage"
                runroot = "{folder}/run"
                """,
            "registries": "unqualified-search-registries = []",
            "containers": f"""
                [containers]
                default_ulimits = {[f"{name}={limit}:{limit}" for name, limit in limits.items()]}
                netns = "host"
                [engine]
                cgroup_manager = "cgroupfs"
                events_logger = "file"
                runtime = "runc"
                tmp_dir = "{folder}/state"
                [network]
                network_backend = "netavark"
                network_config_dir = "{folder}/networks"
                """,
        }
        for name, content in contents.items():
            (folder / f"{name}.conf").write_text(content)
        for name in ("run", "state"):
            # podman trusts the state that an interrupted run left.
            shutil.rmtree(folder / name, ignore_errors=True)
        self.environment = {
            **os.environ,
            "BUILDAH_FORMAT": "docker",  # the other format has no health check
            "CONTAINERS_CONF": f"{folder}/containers.conf",
            "CONTAINERS_REGISTRIES_CONF": f"{folder}/registries.conf",
            "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
            "DISABLE_HC_SYSTEMD": "true",
        }

    def raw(
        self, *arguments: str | Path, data: bytes = b"", stdin: IO[bytes] | None = None, codes: Sequence[int] = (0,)
    ) -> bytes:
        """Run podman and return its output in bytes."""
        return run("podman", *arguments, data=data, stdin=stdin, codes=codes, environment=self.environment)

    def __call__(
        self, *arguments: str | Path, data: bytes = b"", stdin: IO[bytes] | None = None, codes: Sequence[int] = (0,)
    ) -> str:
        """Run podman and return its output, without surrounding white space."""
        return self.raw(*arguments, data=data, stdin=stdin, codes=codes).decode(errors="backslashreplace").strip()

    def compose(self, *arguments: str) -> None:
        """Run a command of podman-compose with docker/compose.yaml."""
        run(
            program("podman-compose") or "podman-compose",
            "-f",
            "docker/compose.yaml",
            *arguments,
            environment=self.environment,
        )

    # Images.

    def build(self) -> None:
        """Build the image with the README's command, and those of haproxy and Prometheus for docker/compose.yaml."""
        base = baseOf()
        if not self.has(base):
            with self._measured(base):
                makeBase(self, base, self.folder)
        images = re.findall(r"image: (\S+)", (CHECKOUT / "docker/compose.yaml").read_text())
        for name, dockerfile in (("haproxy", _HAPROXY), ("prom/prometheus", _PROMETHEUS)):
            (image,) = (each for each in images if each.startswith(f"{name}:"))
            content = dockerfile.format(base=base).encode()
            self("build", "-q", "--pull=never", "-t", image, "-f", "-", "/usr/bin", data=content)
        # pip trusts this machine's certificates, which stay out of the image.
        trusted = ["-v", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"] if Path(_CERTIFICATES).exists() else []
        with self._measured(IMAGE):
            self("build", "--pull=never", "--network=host", *trusted, "-f", "docker/Dockerfile", "-t", IMAGE, ".")

    def has(self, image: str) -> bool:
        """Return whether there is an image of that name."""
        return image in self("images", "--format={{.Repository}}:{{.Tag}}").replace("localhost/", "").split()

    @contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began

    # Containers.

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Remove all containers afterwards, even if this process is killed."""
        environment = {name: value for name, value in self.environment.items() if name != MARK}
        command = "cat; podman rm --force --all --time=0"
        # The guard's input ends at the end of this block, or with this process.
        with subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        ) as guard:
            yield
        assert guard.returncode == 0

    @contextmanager
    def container(self, *arguments: str) -> Iterator[str]:
        """Run the image hardened, in the network of this process, and yield the container's name."""
        assert not answers(), "another one answers there"
        name = self("run", "-d", "--pull=never", "--network=host", *HARDENED, *arguments, IMAGE)
        try:
            yield name
        finally:
            self("rm", "-f", "-t", "0", name)

    def client(
        self, *arguments: str, options: Sequence[str] = (), data: bytes = b"", codes: Sequence[int] = (0,)
    ) -> bytes:
        """Run the client of the image and return its output."""
        command = ["--rm", "-i", "--pull=never", "--network=host", *HARDENED, *options, IMAGE, "echoup", *arguments]
        return self.raw("run", *command, data=data, codes=codes)

    def exitCode(self, name: str) -> int:
        """Wait for the end of a container and return its exit code."""
        return int(self("wait", name))

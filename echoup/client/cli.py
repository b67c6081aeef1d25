"""The `echoup` command."""

import sys

import click

from echoup.client.commandline.connect import connect
from echoup.client.commandline.diagnose import diagnose
from echoup.client.commandline.habits import Commands
from echoup.client.commandline.ping import ping
from echoup.client.commandline.plugin import isPlugin, reportUnknown
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.run import complain, conclude, explainFailure
from echoup.client.standardio import useWaitingStreams
from echoup.upper import IMPLEMENTATION


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    short_help="Prove a network path with an echo service.",
)
@click.version_option(package_name="echoup", message=f"echoup %(version)s (upper-casing in {IMPLEMENTATION})")
def cli() -> None:
    """Prove a network path: send bytes, and check that the real application answers.

    The echo service returns the same bytes in upper case, which only the application itself can do. If bytes come back
    unchanged, altered or cut, something on the path did it: a proxy, a cache or a firewall, for example.

    \b
    twistd -n echoup           start the echo service, on 127.0.0.1:8081
    echoup connect HOST:PORT   talk to it
    echoup ping HOST:PORT      probe it
    echoup diagnose HOST:PORT  find out what is wrong with the path
    """  # noqa: D301  # \b keeps click from wrapping a paragraph


cli.add_command(connect)
cli.add_command(ping)
cli.add_command(diagnose)


def main() -> None:
    """Run the command line and exit; a mistake of the user is one line on stderr, or for Nagios on stdout."""
    useWaitingStreams()
    try:
        code = cli.main(standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    except Exception as error:
        code = reportUnknown(error) if isPlugin(sys.argv[1:]) else _complain(error)
    sys.exit(code)


def _complain(error: Exception) -> int:
    """Print `error` and return its exit code; raise it if it is a fault of the program."""
    if isinstance(error, PathError):
        return conclude(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        complain(*error.format_message().splitlines())
        return ExitCode.USAGE
    if explained := explainFailure(error):
        code, why = explained
        complain(f"echoup: {why}")
        return code
    raise error

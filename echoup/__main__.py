"""`python -m echoup`, the same as `echoup`."""

from echoup.client.cli import main

main()

"""`python -m flows` is the command `mergegate`."""

from flows.cli import main

main()

"""`python -m fitme`: the command line."""

from fitme.cli import main

main()

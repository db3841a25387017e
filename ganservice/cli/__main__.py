"""`python -m ganservice.cli` is ganctl."""

from ganservice.cli import main

main()

"""`python -m alloyk` is `alloyk`."""

from alloyk.cli import main

main(prog_name="alloyk")

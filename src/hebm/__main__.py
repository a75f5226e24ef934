"""``python -m hebm``: the same as the ``hebm`` command."""

from hebm.cli import main

main()

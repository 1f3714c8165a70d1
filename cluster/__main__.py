"""`python -m cluster`: the same as `dermserve`."""

from cluster.cli import main

main()

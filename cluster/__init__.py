"""Running it: the command line and the life of a server."""

"""The command line, a module for each command; `main` is the group."""

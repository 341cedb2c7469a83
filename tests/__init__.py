"""One file per module, `web.py` (a known web on real sockets), and fault tests named by their row."""

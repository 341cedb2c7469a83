"""Where a crawl file can be: not on a network file system (FAULTS D19; sqlite.org/wal.html, "all processes ... same host")."""

from __future__ import annotations

import re
from pathlib import Path

NETWORK = frozenset(
    """afs beegfs ceph cifs coda fuse.ceph fuse.glusterfs fuse.rclone fuse.s3fs fuse.sshfs gpfs lustre ncpfs nfs nfs4
    orangefs smb3 smbfs""".split()  # noqa: SIM905 - a list of quotes reads worse
)


def mounts() -> str:
    """The kernel's table of mounts; nothing where there is none (macOS)."""
    try:
        return Path("/proc/self/mounts").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def network(folder: Path, table: str | None = None) -> str | None:
    """The type of the network file system a folder is on; None: it is on none that is known."""
    nearest, kind = -1, ""
    for line in (mounts() if table is None else table).splitlines():
        _, point, found, *_ = line.split(" ")
        place = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point))
        if folder.is_relative_to(place) and len(place.parts) >= nearest:  # a later mount covers an earlier one
            nearest, kind = len(place.parts), found
    return kind if kind in NETWORK else None

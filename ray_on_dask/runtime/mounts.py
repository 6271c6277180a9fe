"""What kind of file system a directory is on."""

from __future__ import annotations

import os


def file_system(path: str) -> str:
    """The type of the file system that a path is on (`tmpfs`, `hugetlbfs`, …), "" if unknown.

    A path that is not there yet is on that of its nearest parent that is.
    """
    path = os.path.realpath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    best, kind = "", ""
    try:
        with open("/proc/self/mountinfo") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return ""
    for fields in mounts:
        point = fields[4].encode().decode("unicode_escape")  # spaces are \040
        inside = point == "/" or path == point or path.startswith(point + "/")
        if inside and len(point) >= len(best):  # of two at one place the later is seen
            best, kind = point, fields[fields.index("-") + 1]
    return kind


def problem(directory: str, huge_pages: bool) -> str:
    """Why objects cannot lie there, "" if they can."""
    there = os.path.exists(directory)
    if there and not os.path.isdir(directory):
        return "it is no directory"
    if there and not os.access(directory, os.W_OK | os.X_OK):
        return "it cannot be written to"
    if huge_pages and (kind := file_system(directory)) != "hugetlbfs":
        return (
            f"huge_pages=True requires a hugetlbfs mount, and it is on {kind or 'something else'} "
            "(mount -t hugetlbfs none DIRECTORY, as root)"
        )
    return ""

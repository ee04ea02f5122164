"""Copies members of a wheel (a zip) into a folder.

unpack_wheel.py WHEEL INTO PATTERN...            the files, flat
unpack_wheel.py --tree WHEEL INTO PATTERN PREFIX the files below PREFIX, with their folders
"""

import fnmatch
import os
import shutil
import sys
import zipfile


def copy(archive, member, path):
    """Writes one member to `path`, executable where the wheel says so."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with archive.open(member) as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target)
    mode = (member.external_attr >> 16) & 0o777
    os.chmod(path, mode or 0o644)


def main(arguments):
    tree = arguments[0] == "--tree"
    wheel, into, *patterns = arguments[1:] if tree else arguments
    prefix = patterns.pop() if tree else None
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = member.filename
            if member.is_dir() or not any(fnmatch.fnmatch(name, p) for p in patterns):
                continue
            copy(archive, member, os.path.join(into, name[len(prefix):] if tree else os.path.basename(name)))


main(sys.argv[1:])

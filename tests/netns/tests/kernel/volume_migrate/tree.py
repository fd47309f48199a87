"""Fills a folder with one of everything, or prints all that a folder has.

tree.py fill FOLDER BYTES    tree.py print FOLDER
"""
import hashlib
import os
import random
import socket
import stat
import struct
import sys


def fill(top, size):
    dice = random.Random(7)
    os.makedirs(f"{top}/a/b/c")
    for number in range(50):
        with open(f"{top}/a/b/{number:03}", "wb") as file:
            file.write(dice.randbytes(number * 40))
    with open(f"{top}/big", "wb") as file:
        file.write(dice.randbytes(size))
    with open(f"{top}/sparse", "wb") as file:
        file.truncate(256 << 20)
        file.seek(100 << 20)
        file.write(b"in the middle")
    with open(f"{top}/a/file", "w") as file:
        file.write("text")
    os.link(f"{top}/a/file", f"{top}/a/b/again")
    os.link(f"{top}/a/file", f"{top}/zlast")
    os.symlink("/etc/passwd", f"{top}/a/out")
    os.mkdir(f"{top}/empty", 0o500)
    os.mknod(f"{top}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(f"{top}/pipe")
    socket.socket(socket.AF_UNIX).bind(f"{top}/sock")
    open(os.fsencode(top) + b"/no-\xff-text", "w").close()
    os.setxattr(f"{top}/a/file", "trusted.note", b"\0kept")
    os.setxattr(f"{top}/a", "security.selinux", b"system_u:object_r:container_file_t:s0:c1,c2\0")
    # An ACL (acl(5)): user::rwx, user:77:rw-, group::r-x, mask::rwx, other::---, and the same for what is made in it.
    entries = [(1, 7, -1), (2, 6, 77), (4, 5, -1), (16, 7, -1), (32, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(f"{top}/a/b", "system.posix_acl_access", acl)
    os.setxattr(f"{top}/a/b", "system.posix_acl_default", acl)
    os.chown(f"{top}/a/file", 1234, 4321)
    os.chmod(f"{top}/a/file", 0o4750)
    for path in (f"{top}/a/file", f"{top}/a/out", f"{top}/a/b/c", f"{top}/a", top):
        os.utime(path, ns=(5, 1_000_000_123_456_789), follow_symlinks=False)


def show(top):
    numbers = {}
    paths = [top] + [os.path.join(folder, name) for folder, folders, files in os.walk(top) for name in folders + files]
    for path in sorted(paths, key=os.fsencode):
        about = os.lstat(path)
        # The same number for the names of one file.
        number = numbers.setdefault(about.st_ino, len(numbers))
        content = ""
        if stat.S_ISREG(about.st_mode):
            content = hashlib.file_digest(open(path, "rb"), "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
                else hashlib.sha256(open(path, "rb").read()).hexdigest()
            content += " sparse" if about.st_size >= 256 << 20 and about.st_blocks < 1024 else ""
        elif stat.S_ISLNK(about.st_mode):
            content = os.readlink(path)
        size = 0 if stat.S_ISDIR(about.st_mode) else about.st_size
        xattrs = [(name, os.getxattr(path, name, follow_symlinks=False))
                  for name in sorted(os.listxattr(path, follow_symlinks=False))]
        links = 0 if stat.S_ISDIR(about.st_mode) else about.st_nlink
        print(ascii(os.path.relpath(path, top)), number, oct(about.st_mode), about.st_uid, about.st_gid, about.st_mtime_ns,
              size, links, about.st_rdev, xattrs, content)


if sys.argv[1] == "fill":
    fill(sys.argv[2], int(sys.argv[3]))
else:
    show(sys.argv[2])

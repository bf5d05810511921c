"""Keeps compiled components in the user's cache directory. To load one means to run whatever machine code it contains,
so only files that nobody but this user can have written are loaded. Everything else is compiled again."""

import hashlib
import os
import platform
import stat
import threading

from wasmtime import WasmtimeError, _ffi
from wasmtime.component import Component

KEPT = 8  # files; each takes 0.8 MB
DIGEST = 32  # bytes, of the SHA-256 at the beginning of a file


def load(engine, settings, wasm):
    """Loads the component from the cache, or compiles it and tries to store it there."""
    path = directory()
    if path is None:
        return Component(engine, wasm)
    name = key(settings, wasm) + ".cwasm"
    try:
        content = read(path, name)
        if content[:DIGEST] == hashlib.sha256(content[DIGEST:]).digest():  # otherwise the disk was full, for example
            return Component.deserialize(engine, content[DIGEST:])
    except (OSError, WasmtimeError):
        pass
    component = Component(engine, wasm)
    code = component.serialize()
    try:
        write(path, name, hashlib.sha256(code).digest() + code)
    except OSError:
        pass  # The cache saves time, and nothing else.
    return component


def directory():
    """The path of the cache, or None if there cannot be one. Creates it, but not in the directory of another user,
    whose HOME root may have after `sudo`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.environ.get("HOME", ""), ".cache")
    if not os.path.isabs(base) or not hasattr(os, "geteuid"):  # On Windows, owners and modes say nothing.
        return None
    path = parent = os.path.join(base, "consul-session")
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    try:
        if parent != path and os.stat(parent).st_uid == os.geteuid():
            os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError:
        return None
    return path


def key(settings, wasm):
    """Names everything that the machine code depends on. Wasmtime checks its own version and the CPU as well."""
    library = os.stat(_ffi.filename)  # in place of the version, which takes 30 ms to look up
    machine = platform.machine(), cpu()
    parts = [settings, library.st_size, library.st_mtime_ns, machine, hashlib.sha256(wasm).hexdigest()]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def cpu():
    """The features of the CPU, because a home directory may be shared by different machines."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line for line in file if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor()


def read(path, name):
    folder = open_folder(path)
    try:
        # What was checked is what is read: the file is opened once, without following a link.
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb") as file:
            require_private(os.fstat(file.fileno()), stat.S_ISREG)
            return file.read()
    finally:
        os.close(folder)


def write(path, name, content):
    folder = open_folder(path)
    try:
        temporary = f"{name}.{os.getpid()}-{threading.get_ident()}"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder), "wb") as file:
            file.write(content)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        ages = {old: os.stat(old, dir_fd=folder, follow_symlinks=False).st_mtime_ns for old in os.listdir(folder)}
        for old in sorted(ages, key=ages.get)[:-KEPT]:
            os.unlink(old, dir_fd=folder)
    finally:
        os.close(folder)


def open_folder(path):
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        require_private(os.fstat(folder), stat.S_ISDIR)
    except OSError:
        os.close(folder)
        raise
    return folder


def require_private(status, is_kind):
    if not is_kind(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError("another user can have written this")

"""What the two processes say to each other: frames of JSON with arrays beside them.

A frame is a header, a JSON object and, for small arrays, their bytes. Larger arrays lie in an arena,
a piece of shared memory that has no name: its descriptor rides with the first frame that uses it,
each side maps it, and the kernel frees it when both are gone, whoever dies first and however. Nothing
is unpickled. Unix only: descriptors cross through a Unix socket.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"PMJ1"
HEADER = struct.Struct("!4sIQ")
INLINE = 1 << 16  # below this many bytes the socket is faster than mapped pages
ALIGN = 64
KEY = "__array__"

Message = dict[str, Any]


class Closed(Exception):
    """The other end is gone."""


def shared_file(size: int) -> int:
    """A descriptor of ``size`` bytes of memory without a name."""
    if hasattr(os, "memfd_create"):
        # Not in /dev/shm, whose size containers limit to 64 MB.
        fd = os.memfd_create("pympnode-julia", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


class Arena:
    """Shared memory that one side writes. It grows by being replaced."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.fd = shared_file(size)
        self.memory = mmap.mmap(self.fd, size)
        self.sent = False

    def close(self) -> None:
        os.close(self.fd)


class Link:
    """One end of the conversation. Calls alternate, so that each side may reuse its arena."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._arena: Arena | None = None
        self._peer: mmap.mmap | None = None

    def fileno(self) -> int:
        return self.connection.fileno()

    def close(self) -> None:
        """Close this end; its arena is freed when the other end is closed too."""
        self.connection.close()
        if self._arena is not None:
            self._arena.close()
            self._arena = None

    # ---- sending ------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Send a message of plain values and arrays. Raises `Closed`."""
        arrays: list[NDArray] = []
        body = _place(message, arrays)
        where, total = [], 0
        for array in arrays:
            where.append([list(array.shape), array.dtype.str, total])
            total += -(-array.nbytes // ALIGN) * ALIGN
        inline, fds = b"", []
        if total > INLINE:
            arena = self._room(total)
            _write(arrays, where, memoryview(arena.memory))
            if not arena.sent:
                fds, arena.sent = [arena.fd], True
        elif total:
            buffer = bytearray(total)
            _write(arrays, where, memoryview(buffer))
            inline = bytes(buffer)
        text = json.dumps({"body": body, "arrays": where, "new": bool(fds)}).encode()
        payload = HEADER.pack(MAGIC, len(text), len(inline)) + text + inline
        try:
            if fds:
                sent = socket.send_fds(self.connection, [payload], fds)
                self.connection.sendall(payload[sent:])
            else:
                self.connection.sendall(payload)
        except OSError as error:
            raise Closed(str(error)) from error

    def _room(self, total: int) -> Arena:
        if self._arena is None or self._arena.size < total:
            if self._arena is not None:
                self._arena.close()
            self._arena = Arena(1 << (total - 1).bit_length())
        return self._arena

    # ---- receiving ----------------------------------------------------------------------------

    def receive(self, *, copy: bool = True) -> Message:
        """The next message. Without ``copy`` its arrays are read-only views, good until the next
        call. Raises `Closed`."""
        try:
            head, fds, _, _ = socket.recv_fds(self.connection, HEADER.size, 1)
            if not head:
                raise Closed("end of file")
            head += self._exactly(HEADER.size - len(head))
            magic, text_size, inline_size = HEADER.unpack(head)
            if magic != MAGIC:
                raise Closed(f"not a frame: {magic!r}")
            frame = json.loads(self._exactly(text_size))
            inline = self._exactly(inline_size)
        except OSError as error:
            raise Closed(str(error)) from error
        if frame["new"]:
            self._peer = mmap.mmap(fds[0], 0, prot=mmap.PROT_READ)
            os.close(fds[0])
        source = inline if inline_size else self._peer
        arrays = [_view(source, *each) for each in frame["arrays"]]
        return _fetch(frame["body"], [a.copy() for a in arrays] if copy else arrays)

    def _exactly(self, size: int) -> bytes:
        buffer, at = bytearray(size), 0
        view = memoryview(buffer)
        while at < size:
            got = self.connection.recv_into(view[at:])
            if not got:
                raise Closed("end of file in a frame")
            at += got
        return bytes(buffer)


def _view(source: Any, shape: list[int], dtype: str, offset: int) -> NDArray:
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return np.zeros(shape, dtype)
    return np.frombuffer(source, dtype, count, offset).reshape(shape)


def _write(arrays: list[NDArray], where: list[list[Any]], memory: memoryview) -> None:
    for array, (shape, dtype, offset) in zip(arrays, where):
        if array.size:
            np.ndarray(shape, dtype, memory, offset)[...] = array


def _place(value: Any, arrays: list[NDArray]) -> Any:
    """``value`` as JSON takes it, each array replaced by its number in ``arrays``."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            raise TypeError(f"arrays of dtype {value.dtype} do not cross")
        arrays.append(value)
        return {KEY: len(arrays) - 1}
    if isinstance(value, dict):
        return {str(name): _place(each, arrays) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_place(each, arrays) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _fetch(value: Any, arrays: list[NDArray]) -> Any:
    if isinstance(value, dict):
        if KEY in value:
            return arrays[value[KEY]]
        return {name: _fetch(each, arrays) for name, each in value.items()}
    if isinstance(value, list):
        return [_fetch(each, arrays) for each in value]
    return value


class Control:
    """Two words of shared memory: the call to be ended, and the call that runs."""

    SIZE = 4096

    def __init__(self, fd: int | None = None) -> None:
        self.fd = shared_file(self.SIZE) if fd is None else fd
        self._memory = mmap.mmap(self.fd, self.SIZE)
        self._words = np.frombuffer(self._memory, np.int64, 2)

    @property
    def address(self) -> int:
        """Where the words lie in this process."""
        return int(self._words.ctypes.data)

    def running(self, number: int) -> None:
        """Say which call runs (numbers start at 1)."""
        self._words[1] = number

    def end(self, number: int) -> None:
        """Ask for the end of a call."""
        self._words[0] = number

    @property
    def asked(self) -> bool:
        """Whether the call that runs was asked to end."""
        return bool(self._words[0] == self._words[1])

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

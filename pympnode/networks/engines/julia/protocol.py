"""The protocol between client and worker: frames of JSON, with arrays beside them.

A frame is a header, a JSON object and, for small arrays, their bytes. Larger arrays are in an arena,
shared memory without a name: its file descriptor is sent with the first frame that uses it, both
processes map it, and the operating system frees it when both have ended, also after a crash. Nothing
is unpickled. Unix only: descriptors are sent through a Unix socket.
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
INLINE = 1 << 16  # below this many bytes the socket is faster than shared memory
ALIGN = 64
KEY = "__array__"

Message = dict[str, Any]


class Closed(Exception):
    """The other process has closed the connection or has ended."""


def shared_file(size: int) -> int:
    """A file descriptor of ``size`` bytes of shared memory without a name."""
    if hasattr(os, "memfd_create"):
        # Not in /dev/shm, whose size containers limit to 64 MB.
        fd = os.memfd_create("pympnode-julia", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


class Arena:
    """Shared memory that one process writes; a larger one replaces it when needed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.fd = shared_file(size)
        self.memory = mmap.mmap(self.fd, size)
        self.sent = False

    def close(self) -> None:
        """Close the descriptor; the memory is freed when the other process has unmapped it too."""
        os.close(self.fd)


class Link:
    """One end of the connection. Frames alternate, so that each process may reuse its arena."""

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
        body = _extract(message, arrays)
        layout, total = [], 0
        for array in arrays:
            layout.append([list(array.shape), array.dtype.str, total])
            total += -(-array.nbytes // ALIGN) * ALIGN
        inline, fds = b"", []
        if total > INLINE:
            arena = self._arena_of(total)
            _write(arrays, layout, memoryview(arena.memory))
            if not arena.sent:
                fds, arena.sent = [arena.fd], True
        elif total:
            buffer = bytearray(total)
            _write(arrays, layout, memoryview(buffer))
            inline = bytes(buffer)
        text = json.dumps({"body": body, "arrays": layout, "new": bool(fds)}).encode()
        payload = HEADER.pack(MAGIC, len(text), len(inline)) + text + inline
        try:
            if fds:
                sent = socket.send_fds(self.connection, [payload], fds)
                self.connection.sendall(payload[sent:])
            else:
                self.connection.sendall(payload)
        except OSError as error:
            raise Closed(str(error)) from error

    def _arena_of(self, total: int) -> Arena:
        """The arena of this end, with at least ``total`` bytes."""
        if self._arena is None or self._arena.size < total:
            if self._arena is not None:
                self._arena.close()
            self._arena = Arena(1 << (total - 1).bit_length())
        return self._arena

    # ---- receiving ----------------------------------------------------------------------------

    def receive(self, *, copy: bool = True) -> Message:
        """The next message. Raises `Closed`.

        Without ``copy`` its arrays are read-only views, valid until the next frame.
        """
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
        return _insert(frame["body"], [a.copy() for a in arrays] if copy else arrays)

    def _exactly(self, size: int) -> bytes:
        buffer, received = bytearray(size), 0
        view = memoryview(buffer)
        while received < size:
            count = self.connection.recv_into(view[received:])
            if not count:
                raise Closed("end of file in a frame")
            received += count
        return bytes(buffer)


def _view(source: Any, shape: list[int], dtype: str, offset: int) -> NDArray:
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return np.zeros(shape, dtype)
    return np.frombuffer(source, dtype, count, offset).reshape(shape)


def _write(arrays: list[NDArray], layout: list[list[Any]], memory: memoryview) -> None:
    for array, (shape, dtype, offset) in zip(arrays, layout):
        if array.size:
            np.ndarray(shape, dtype, memory, offset)[...] = array


def _extract(value: Any, arrays: list[NDArray]) -> Any:
    """``value`` as JSON values, each array appended to ``arrays`` and replaced by its number."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            raise TypeError(f"arrays of dtype {value.dtype} cannot be sent")
        arrays.append(value)
        return {KEY: len(arrays) - 1}
    if isinstance(value, dict):
        return {str(name): _extract(each, arrays) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_extract(each, arrays) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _insert(value: Any, arrays: list[NDArray]) -> Any:
    """The inverse of `_extract`."""
    if isinstance(value, dict):
        if KEY in value:
            return arrays[value[KEY]]
        return {name: _insert(each, arrays) for name, each in value.items()}
    if isinstance(value, list):
        return [_insert(each, arrays) for each in value]
    return value


class Control:
    """Two int64 of shared memory: the number of the call to interrupt, and of the call that runs."""

    SIZE = 4096

    def __init__(self, fd: int | None = None) -> None:
        self.fd = shared_file(self.SIZE) if fd is None else fd
        self._memory = mmap.mmap(self.fd, self.SIZE)
        self._words = np.frombuffer(self._memory, np.int64, 2)

    @property
    def address(self) -> int:
        """Address of the two numbers in this process."""
        return int(self._words.ctypes.data)

    def running(self, number: int) -> None:
        """Store the number of the call that runs (from 1)."""
        self._words[1] = number

    def end(self, number: int) -> None:
        """Request the interruption of a call."""
        self._words[0] = number

    @property
    def asked(self) -> bool:
        """Whether the interruption of the running call was requested."""
        return bool(self._words[0] == self._words[1])

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

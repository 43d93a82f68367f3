# SPDX-License-Identifier: Apache-2.0
"""A USB device as a stream of the usbredir protocol, by libusbredirhost 0.13 and libusb 1.0.24 or later.

https://gitlab.freedesktop.org/spice/usbredir (usbredirhost/usbredirhost.h, docs/usb-redirection-protocol.md);
https://libusb.sourceforge.io/api-1.0/
"""

from __future__ import annotations

import asyncio
import ctypes
import select
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_int, c_long, c_short, c_ssize_t, c_uint8, c_void_p
from typing import Any

# libusb.h: enum libusb_option.
_NO_DEVICE_DISCOVERY = 2
# usbredirparser.h: levels of the log callback.
_WARNING = 2
# usbredirhost.h: results of usbredirhost_read_guest_data.
_RESULTS = {
    -1: "input or output error",
    -2: "it does not speak usbredir",
    -3: "the server refused the device",
    -4: "the device is gone",
}
_VERSION = b"usb-shim-relay"

_Log = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p)
_InputOutput = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(c_uint8), c_int)


class _PollFd(ctypes.Structure):
    _fields_ = [("fd", c_int), ("events", c_short)]


class _TimeValue(ctypes.Structure):
    _fields_ = [("seconds", c_long), ("microseconds", c_long)]


class DeviceError(Exception):
    """The device cannot be used, or the peer does not follow the protocol; the text says which."""


class Libraries:
    """The functions of both libraries.

    :raises DeviceError: one is not installed
    """

    def __init__(self) -> None:
        try:
            self.usb = ctypes.CDLL("libusb-1.0.so.0")
            self.redir = ctypes.CDLL("libusbredirhost.so.1")
        except OSError as error:
            raise DeviceError(f"{error}; install libusbredirhost1 (Debian's name of the package)") from None
        signatures: tuple[tuple[Any, ...], ...] = (
            (self.usb.libusb_init, c_int, c_void_p),
            (self.usb.libusb_exit, None, c_void_p),
            (self.usb.libusb_error_name, c_char_p, c_int),
            (self.usb.libusb_wrap_sys_device, c_int, c_void_p, c_ssize_t, c_void_p),
            (self.usb.libusb_get_pollfds, POINTER(POINTER(_PollFd)), c_void_p),
            (self.usb.libusb_free_pollfds, None, c_void_p),
            (self.usb.libusb_handle_events_timeout_completed, c_int, c_void_p, c_void_p, c_void_p),
            (
                *(self.redir.usbredirhost_open, c_void_p, c_void_p, c_void_p, _Log, _InputOutput),
                *(_InputOutput, c_void_p, c_char_p, c_int, c_int),
            ),
            (self.redir.usbredirhost_close, None, c_void_p),
            (self.redir.usbredirhost_read_guest_data, c_int, c_void_p),
            (self.redir.usbredirhost_write_guest_data, c_int, c_void_p),
            (self.redir.usbredirhost_has_data_to_write, c_int, c_void_p),
        )
        for function, result, *arguments in signatures:
            function.restype, function.argtypes = result, arguments
        # It is given its device, and looks for no other.
        self.usb.libusb_set_option(None, _NO_DEVICE_DISCOVERY)


class Redirection:
    """The device behind an open node, for one connection; the host's drivers are off it until `close`.

    Must be created in a running event loop, which calls it when the device has something to say.

    :param node: file descriptor of the device's node, open for reading and writing; it stays open.
    :param on_end: called with the reason when the device is gone.
    :raises DeviceError: the device cannot be opened
    """

    def __init__(self, libraries: Libraries, node: int, on_end: Callable[[str], None]) -> None:
        self._usb, self._redir = libraries.usb, libraries.redir
        self._node = node
        self._on_end = on_end
        self._write: Callable[[bytes], bool] = lambda data: False
        self._input = memoryview(b"")
        self._complaint = ""
        self._watched: list[int] = []
        self._context = c_void_p()
        # The library calls them as long as it lives.
        self._callbacks = _Log(self._on_log), _InputOutput(self._on_read), _InputOutput(self._on_write)
        self._check(self._usb.libusb_init(byref(self._context)))
        try:
            handle = c_void_p()
            self._check(self._usb.libusb_wrap_sys_device(self._context, node, byref(handle)))
            # Closes the handle, also if it fails.
            self._host = self._redir.usbredirhost_open(
                self._context, handle, *self._callbacks, None, _VERSION, _WARNING, 0
            )
            if not self._host:
                raise DeviceError(f"libusbredirhost cannot open the device: {self._complaint}")
        except DeviceError:
            self._usb.libusb_exit(self._context)
            raise
        self._watch()

    def connect(self, write: Callable[[bytes], bool]) -> None:
        """Send to a peer from now on.

        :param write: returns whether it has taken the bytes; it is asked again at the next `flush`.
        """
        self._write = write
        self.flush()

    def receive(self, data: bytes) -> None:
        """Take bytes of the peer.

        :raises DeviceError: they are not usbredir, or the server refused the device
        """
        self._input = memoryview(data)
        result = self._redir.usbredirhost_read_guest_data(self._host)
        if result < 0:
            raise DeviceError(f"{_RESULTS.get(result, result)} {self._complaint}".strip())
        self.flush()

    def flush(self) -> None:
        """Send what waits."""
        if self._redir.usbredirhost_has_data_to_write(self._host):
            self._redir.usbredirhost_write_guest_data(self._host)

    def close(self) -> None:
        """Give the device back to the host's drivers."""
        loop = asyncio.get_running_loop()
        for descriptor in self._watched:
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)
        self._write = lambda data: False
        self._redir.usbredirhost_close(self._host)
        self._usb.libusb_exit(self._context)

    def _check(self, result: int) -> None:
        if result < 0:
            name = self._usb.libusb_error_name(result).decode()
            raise DeviceError(f"libusb cannot open the device: {name}")

    def _watch(self) -> None:
        # A node, a pipe and a timer: with a device that it is given, libusb changes none of them later.
        loop = asyncio.get_running_loop()
        found = self._usb.libusb_get_pollfds(self._context)
        for entry in found:
            if not entry:
                break
            if entry.contents.events & select.POLLIN:
                loop.add_reader(entry.contents.fd, self._on_events)
            if entry.contents.events & select.POLLOUT:
                loop.add_writer(entry.contents.fd, self._on_events)
            self._watched.append(entry.contents.fd)
        self._usb.libusb_free_pollfds(found)

    def _on_events(self) -> None:
        self._usb.libusb_handle_events_timeout_completed(self._context, byref(_TimeValue(0, 0)), None)
        self.flush()
        if is_gone(self._node):
            self._on_end("the device was unplugged")

    # Called by libusbredirhost

    def _on_log(self, private: int, level: int, message: bytes) -> None:
        # A peer can cause any number of them: only the last one is kept, to explain an error.
        self._complaint = ascii(message.decode("ascii", "replace").strip()[:200])

    def _on_read(self, private: int, data: int, count: int) -> int:
        part = self._input[:count]
        ctypes.memmove(data, bytes(part), len(part))
        self._input = self._input[len(part) :]
        return len(part)

    def _on_write(self, private: int, data: int, count: int) -> int:
        return count if self._write(ctypes.string_at(data, count)) else 0


def is_gone(node: int) -> bool:
    """Whether the device of an open node was unplugged (Linux, drivers/usb/core/devio.c: usbdev_poll)."""
    poll = select.poll()
    poll.register(node, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))

# SPDX-License-Identifier: Apache-2.0
"""A smaller kernel image and smaller modules: an emulated machine pays for every byte.

Offsets are those of the ELF64 headers in elf.h: Elf64_Ehdr is 64 bytes, Elf64_Phdr 56, Elf64_Shdr 64.
"""

import struct
from dataclasses import dataclass

PT_LOAD = 1
PT_NOTE = 4
EHDR_SIZE = 64
PHDR = struct.Struct("<IIQQQQQQ")
SHDR = struct.Struct("<IIQQQQIIQQ")
# include/linux/module_signature.h: what a signed module ends with, and struct module_signature before it,
# whose last four bytes are the big-endian length of the signature before that.
SIGNATURE_MAGIC = b"~Module signature appended~\n"
SIGNATURE_HEADER_SIZE = 12


@dataclass(frozen=True)
class Section:
    """One section: its name, where the name stands in the file, and the bytes it has in the file."""

    name: str
    name_offset: int
    offset: int
    size: int


def sections(elf: bytes) -> list[Section]:
    """Return the sections of the ELF64 image."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    count, names_index = struct.unpack_from("<HH", elf, 0x3C)
    headers = [SHDR.unpack_from(elf, table + i * SHDR.size) for i in range(count)]
    names = headers[names_index][4]
    return [
        Section(
            elf[names + header[0] : elf.index(b"\0", names + header[0])].decode(),
            names + header[0],
            header[4],
            header[5],
        )
        for header in headers
    ]


def trim_kernel(elf: bytes, without: tuple[str, ...] = ()) -> bytes:
    """Return the vmlinux with only what has to be loaded: no section table, no stored zeros.

    The sections `without` become zeros in memory. Every segment keeps its size in memory, so that QEMU
    clears the rest at each reset.
    """
    dropped = sorted((s.offset, s.offset + s.size) for s in sections(elf) if s.name in without)
    (table,) = struct.unpack_from("<Q", elf, 0x20)
    (count,) = struct.unpack_from("<H", elf, 0x38)
    headers = [PHDR.unpack_from(elf, table + i * PHDR.size) for i in range(count)]
    pieces: list[tuple[tuple[int, ...], bytes]] = []
    for kind, flags, offset, vaddr, paddr, filesz, memsz, align in headers:
        if kind == PT_NOTE:
            pieces.append(
                ((kind, flags, vaddr, paddr, memsz, align), elf[offset : offset + filesz]),
            )
        if kind != PT_LOAD:
            continue
        cuts = [cut for cut in dropped if offset <= cut[0] < offset + filesz]
        starts = [offset, *(end for _, end in cuts)]
        data_ends = [*(start for start, _ in cuts), offset + filesz]
        memory_ends = [*(end for _, end in cuts), offset + memsz]
        for start, data_end, memory_end in zip(starts, data_ends, memory_ends, strict=True):
            shift = start - offset
            pieces.append(
                (
                    (kind, flags, vaddr + shift, paddr + shift, memory_end - start, align),
                    elf[start:data_end].rstrip(b"\0"),
                )
            )
    position = EHDR_SIZE + PHDR.size * len(pieces)
    phdrs, body = bytearray(), bytearray()
    for (kind, flags, vaddr, paddr, memsz, align), data in pieces:
        phdrs += PHDR.pack(kind, flags, position + len(body), vaddr, paddr, len(data), memsz, align)
        body += data
    ehdr = bytearray(elf[:EHDR_SIZE])
    struct.pack_into("<QQ", ehdr, 0x20, EHDR_SIZE, 0)  # program headers here, no section headers
    struct.pack_into("<HHHH", ehdr, 0x38, len(pieces), 0, 0, 0)
    return bytes(ehdr + phdrs + body)


def trim_module(elf: bytes) -> bytes:
    """Return the kernel module without its signature and its BTF type data.

    Checking the one, and parsing the other against the whole kernel's, is a large part of loading a module
    on an emulated processor. Debian's kernel loads unsigned modules (it says so and goes on).
    """
    if elf.endswith(SIGNATURE_MAGIC):
        end = len(elf) - len(SIGNATURE_MAGIC)
        (length,) = struct.unpack_from(">I", elf, end - 4)
        elf = elf[: end - SIGNATURE_HEADER_SIZE - length]
    renamed = bytearray(elf)
    for section in sections(elf):
        # The kernel looks for the section by this name, and ignores one that it does not know.
        if section.name == ".BTF":
            renamed[section.name_offset : section.name_offset + 4] = b".btf"
    return bytes(renamed)

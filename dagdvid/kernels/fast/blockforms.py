"""The compiled twin of `labelblocks_ref`: what writes, checks and counts blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagdvid.kernels import labelblocks_ref
from dagdvid.kernels.fast import BYTES, inlined, kernel
from dagdvid.kernels.fast.blocktables import WIDEST, Int, bits_for, layout, row_of, tables_of, u16, u32
from dagdvid.kernels.fast.blockvoxels import decode
from dagdvid.kernels.labelblocks_ref import HEADER, SUB, VOXELS, Counted

__all__ = ["canonical", "check", "counts", "encode"]

CANONICAL, RENUMBERED, OTHER, MALFORMED = 0, 1, 2, 3
"""What `_scan` finds: the canonical form; only labels and places in another order; anything else; no block."""


@inlined
def _slot(label: np.uint64, mask: int) -> Int:
    """Where in a table of mask + 1 slots a label is looked for first."""
    return np.int64((label * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask


@inlined
def _slots(entries: int) -> int:
    """The size of a table of at least two slots an entry: a power of two."""
    size = 64
    while size < 2 * entries:
        size *= 2
    return size


@inlined
def _number_labels(entries: NDArray[np.uint64], labels: NDArray[np.uint64], places: NDArray[np.uint32]) -> int:
    """Numbers entries by the first of each label: fills labels and the place of each entry; gives their number."""
    size = _slots(len(entries))
    slots = np.full(size, -1, np.int64)
    found = 0
    for i in range(len(entries)):
        label = entries[i]
        slot = _slot(label, size - 1)
        while slots[slot] >= 0 and labels[slots[slot]] != label:
            slot = (slot + 1) & (size - 1)
        if slots[slot] < 0:
            slots[slot] = found
            labels[found] = label
            found += 1
        places[i] = slots[slot]
    return found


@inlined
def _pack(places: NDArray[np.uint16], bits: int, out: NDArray[np.uint8], at: int) -> None:
    """Writes 512 numbers of some bits each, the highest bit first."""
    for start in range(0, VOXELS, SUB):
        if bits < WIDEST:
            word = np.uint64(0)
            for i in range(SUB):
                word = word << np.uint64(bits) | np.uint64(places[start + i])
            for i in range(bits):
                out[at + i] = np.uint8(word >> np.uint64(8 * (bits - 1 - i)) & np.uint64(0xFF))
        else:
            rest: Int = 0
            for i in range(SUB):
                rest = (rest & 0xFF) << 9 | np.int64(places[start + i])
                out[at + i] = rest >> (i + 1) & 0xFF
            out[at + SUB] = rest & 0xFF
        at += bits


@kernel("Tuple((uint8[::1], uint64[::1], int64[::1]))(Array(uint64, 3, 'A', readonly=True))")
def _encode(block: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.int64]]:
    """The canonical form, its labels and their voxels."""
    gz, gy, gx = block.shape[0] // SUB, block.shape[1] // SUB, block.shape[2] // SUB
    subs = gx * gy * gz
    numbers = np.empty(subs, np.int64)
    entries = np.empty(64 + subs, np.uint64)
    voxels = np.empty(64 + subs, np.int64)
    total = 0
    packed = np.empty(4096, np.uint8)
    end = 0
    places = np.empty(VOXELS, np.uint16)
    slots = np.zeros(2 * VOXELS, np.int64)  # 1024 x sub-block + place, so that nothing is cleared between sub-blocks
    slots[:] = -1
    sub = -1
    for z in range(0, block.shape[0], SUB):
        for y in range(0, block.shape[1], SUB):
            for x in range(0, block.shape[2], SUB):
                sub += 1
                if total + VOXELS > len(entries):
                    entries = np.concatenate((entries, np.empty(len(entries) + VOXELS, np.uint64)))
                    voxels = np.concatenate((voxels, np.empty(len(voxels) + VOXELS, np.int64)))
                last = block[z, y, x]
                different = np.uint64(0)
                for k in range(SUB):
                    for j in range(SUB):
                        for i in range(SUB):
                            different |= block[z + k, y + j, x + i] ^ last
                if different == 0:
                    entries[total] = last
                    voxels[total] = VOXELS
                    total += 1
                    numbers[sub] = 1
                    continue
                number, place, run = 0, 0, 0
                last = ~last
                at = 0
                for k in range(SUB):
                    for j in range(SUB):
                        for i in range(SUB):
                            label = block[z + k, y + j, x + i]
                            if label != last:
                                if at:
                                    voxels[total + place] += run
                                run = 0
                                last = label
                                slot = _slot(label, 2 * VOXELS - 1)
                                while slots[slot] >> 10 == sub and entries[total + (slots[slot] & 1023)] != label:
                                    slot = (slot + 1) & (2 * VOXELS - 1)
                                if slots[slot] >> 10 != sub:
                                    slots[slot] = sub << 10 | number
                                    entries[total + number] = label
                                    voxels[total + number] = 0
                                    number += 1
                                place = slots[slot] & 1023
                            places[at] = place
                            run += 1
                            at += 1
                voxels[total + place] += run
                bits = bits_for(number)
                size = bits * (VOXELS // 8)
                if end + size > len(packed):
                    packed = np.concatenate((packed, np.empty(len(packed) + size, np.uint8)))
                _pack(places, bits, packed, end)
                end += size
                numbers[sub] = number
                total += number
    labels = np.empty(total, np.uint64)
    where = np.empty(total, np.uint32)
    count = _number_labels(entries[:total], labels, where)
    counts = np.zeros(count, np.int64)
    for i in range(total):
        counts[where[i]] += voxels[i]
    head = HEADER + 8 * count
    data = np.empty(head if count == 1 else head + 2 * subs + 4 * total + end, np.uint8)
    data[:HEADER].view(np.uint32)[:] = np.array([gx, gy, gz, count], np.uint32)
    data[HEADER:head].view(np.uint64)[:] = labels[:count]
    if count > 1:
        data[head : head + 2 * subs].view(np.uint16)[:] = numbers
        data[head + 2 * subs : head + 2 * subs + 4 * total].view(np.uint32)[:] = where
        data[head + 2 * subs + 4 * total :] = packed[:end]
    return data, labels[:count].copy(), counts


@kernel(f"Tuple((int64, uint64[::1], int64[::1], uint32[::1]))({BYTES}, uint64[::1], boolean)")
def _scan(
    data: NDArray[np.uint8], table: NDArray[np.uint64], hasty: bool
) -> tuple[int, NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint32]]:
    """What form a block of several labels has; its labels by first place, and their voxels; and its places anew.

    In haste the form OTHER is told as soon as it is seen, with nothing more, and without a look at what follows.
    """
    at, first, byte, total = layout(data)
    nothing = np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.uint32)
    if at < 0:
        return MALFORMED, *nothing
    start, places_at, subs = at, first, (first - at) // 2
    entries = np.empty(total, np.uint64)
    voxels = np.zeros(total, np.int64)
    row = np.empty(SUB, np.int64)
    form = CANONICAL
    entry: Int = 0
    for _ in range(subs):
        number = u16(data, at)
        at += 2
        for i in range(number):
            place = u32(data, first)
            first += 4
            if place >= len(table):
                return MALFORMED, *nothing
            entries[entry + i] = table[place]
        if number <= 1:
            if number == 0:
                form = OTHER
            else:
                voxels[entry] += VOXELS
            entry += number
            continue
        if hasty and form == OTHER:
            return OTHER, *nothing
        bits = bits_for(number)
        seen, last, run = 0, 0, 0
        for _ in range(VOXELS // SUB):
            row_of(data, byte, bits, row)
            byte += bits
            for i in range(SUB):
                place = row[i]
                if place != last:
                    if place >= number:
                        return MALFORMED, *nothing
                    voxels[entry + last] += run
                    run = 0
                    last = place
                if place >= seen:
                    if place > seen:
                        form = OTHER
                    seen = place + 1
                run += 1
        voxels[entry + last] += run
        if seen < number:
            form = OTHER
        entry += number
    labels = np.empty(max(1, total), np.uint64)
    where = np.empty(total, np.uint32)
    count = _number_labels(entries, labels, where)
    # A label that a sub-block lists twice: `newest` has the last sub-block that listed it.
    newest = np.full(count, -1, np.int64)
    entry = 0
    for sub in range(subs):
        for _ in range(u16(data, start + 2 * sub)):
            if newest[where[entry]] == sub:
                form = OTHER
            newest[where[entry]] = sub
            entry += 1
    if form == CANONICAL:
        if count == 1:
            form = OTHER
        elif count < len(table):
            form = RENUMBERED
        for i in range(total):
            if where[i] != u32(data, places_at + 4 * i):
                form = RENUMBERED if form == CANONICAL else form
                break
    counts = np.zeros(count, np.int64)
    for i in range(total):
        counts[where[i]] += voxels[i]
    return form, labels[:count].copy(), counts, where


_NOTHING = (MALFORMED, np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.uint32))


def encode(block: NDArray[np.uint64]) -> Counted:
    """As the plain one."""
    data, labels, counts = _encode(block)
    return Counted(data.tobytes(), *_ascending(labels, counts))


def canonical(data: bytes | memoryview) -> Counted:
    """As the plain one."""
    raw, labels, shape, solid = tables_of(data)
    if solid:
        return Counted(bytes(data), *_ascending(labels, np.array([shape[0] * shape[1] * shape[2]])))
    form, found, counts, places = _scan(raw, labels, True) if len(labels) > 1 else _NOTHING
    if form == MALFORMED:
        return labelblocks_ref.canonical_ref(data)
    if form == OTHER:
        return encode(decode(data))
    counted = _ascending(found, counts)
    if form == CANONICAL:
        return Counted(bytes(data), *counted)
    subs = shape[0] * shape[1] * shape[2] // VOXELS
    numbers = HEADER + labels.nbytes
    at = numbers + 2 * subs
    table = [data[:12], len(found).to_bytes(4, "little"), found.tobytes(), data[numbers:at]]
    return Counted(b"".join([*table, places.tobytes(), data[at + places.nbytes :]]), *counted)


def check(data: bytes | memoryview) -> bool:
    """As the plain one."""
    raw, labels, _, solid = tables_of(data)
    if solid:
        return True
    form = _scan(raw, labels, False)[0] if len(labels) > 1 else MALFORMED
    return labelblocks_ref.check_ref(data) if form == MALFORMED else form == CANONICAL


def counts(data: bytes | memoryview) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """As the plain one."""
    raw, labels, shape, solid = tables_of(data)
    if solid:
        return _ascending(labels, np.array([shape[0] * shape[1] * shape[2]]))
    form, found, numbers, _ = _scan(raw, labels, False) if len(labels) > 1 else _NOTHING
    return labelblocks_ref.counts_ref(data) if form == MALFORMED else _ascending(found, numbers)


def _ascending(labels: NDArray[np.uint64], counts: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """By label, without 0 and what is listed but has no voxels."""
    there = (labels != 0) & (counts > 0)
    labels, counts = labels[there], counts[there]
    order = np.argsort(labels)
    return labels[order], counts[order]

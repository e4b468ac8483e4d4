"""Ways to damage a file: single bytes and bits, stretches, lengths, words, lines, whole numbers, its end."""

from collections.abc import Callable, Sequence

import numpy as np

Draw = np.random.Generator
INTERESTING = (0, 1, 9, 10, 13, 32, 45, 47, 58, 92, 124, 127, 128, 194, 255)
NUMBERS = (0, 1, 2, 15, 16, 44, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
WORDS = (
    *(
        b"",
        b"0",
        b"-1",
        b"1",
        b"2",
        b"1.5",
        b"nan",
        b"inf",
        b"1e999",
        b"9" * 20,
        b"9" * 11,
        b"9" * 18,
        b"target",
        b"a",
        b"/",
    ),
    *(b":", b"-", b"x.ark:7", b"|", b"ls |", b"{}", b"[]", b"null", b"true", b"~", b"&a", b"*a", b"!!python/name:os"),
    *(b"\xc3\xa9", b"\xff\xfe", b"\xc2\xa0", b"\x00", b"../..", b"../../" * 50, b"w" * 5000, b"9" * 5000, b"[" * 3000),
)


def flip_a_bit(contents: bytearray, draw: Draw) -> None:
    contents[draw.integers(len(contents))] ^= 1 << int(draw.integers(8))


def set_a_byte(contents: bytearray, draw: Draw) -> None:
    contents[draw.integers(len(contents))] = draw.choice(INTERESTING)


def cut_the_end(contents: bytearray, draw: Draw) -> None:
    del contents[draw.integers(len(contents)) :]


def remove_a_stretch(contents: bytearray, draw: Draw) -> None:
    begin, end = stretch(contents, draw)
    del contents[begin:end]


def repeat_a_stretch(contents: bytearray, draw: Draw) -> None:
    begin, end = stretch(contents, draw)
    contents[end:end] = contents[begin:end] * int(draw.integers(1, 4))


def move_a_stretch(contents: bytearray, draw: Draw) -> None:
    begin, end = stretch(contents, draw)
    moved = contents[begin:end]
    del contents[begin:end]
    place = int(draw.integers(len(contents) + 1))
    contents[place:place] = moved


def put_noise(contents: bytearray, draw: Draw) -> None:
    begin, end = stretch(contents, draw)
    contents[begin:end] = draw.bytes(int(draw.integers(1, 20)))


def set_a_number(contents: bytearray, draw: Draw) -> None:
    """Four bytes that may be a length or an offset, of either order."""
    place, number = int(draw.integers(len(contents))), int(draw.choice(NUMBERS))
    contents[place : place + 4] = number.to_bytes(4, "little" if draw.random() < 0.5 else "big")


def replace_a_word(contents: bytearray, draw: Draw) -> None:
    words = bytes(contents).split(b" ")
    words[draw.integers(len(words))] = WORDS[draw.integers(len(WORDS))]
    contents[:] = b" ".join(words)


def replace_a_value(contents: bytearray, draw: Draw) -> None:
    """What stands between two of the bytes that part words, numbers and values."""
    ends = [place for place, byte in enumerate(contents) if byte in b' :,\n"=[]{}']
    if len(ends) > 1:
        place = int(draw.integers(len(ends) - 1))
        contents[ends[place] + 1 : ends[place + 1]] = WORDS[draw.integers(len(WORDS))]


def swap_lines(contents: bytearray, draw: Draw) -> None:
    lines = bytes(contents).split(b"\n")
    first, second = draw.integers(len(lines), size=2)
    lines[first], lines[second] = lines[second], lines[first]
    contents[:] = b"\n".join(lines)


def repeat_a_line(contents: bytearray, draw: Draw) -> None:
    lines = bytes(contents).split(b"\n")
    lines.insert(int(draw.integers(len(lines))), lines[draw.integers(len(lines))])
    contents[:] = b"\n".join(lines)


def stretch(contents: bytearray, draw: Draw) -> tuple[int, int]:
    """A place and one at most 64 bytes (at times: anywhere) after it."""
    begin = int(draw.integers(len(contents)))
    longest = len(contents) if draw.random() < 0.1 else 64
    return begin, min(len(contents), begin + 1 + int(draw.integers(longest)))


MUTATIONS: Sequence[Callable[[bytearray, Draw], None]] = (
    *(flip_a_bit, set_a_byte, cut_the_end, remove_a_stretch, repeat_a_stretch, move_a_stretch, put_noise),
    *(set_a_number, replace_a_word, replace_a_value, swap_lines, repeat_a_line),
)


def mutated(contents: bytes, others: Sequence[bytes], draw: Draw) -> bytes:
    """The contents with one to four damages; at times the beginning or the end of another file, or nothing."""
    chance = draw.random()
    if chance < 0.02:
        return b""
    damaged = bytearray(contents)
    if chance < 0.06:
        other = others[draw.integers(len(others))]
        damaged = bytearray(damaged[: draw.integers(len(damaged) + 1)] + other[draw.integers(len(other) + 1) :])
    for _ in range(int(draw.integers(1, 5))):
        if damaged:
            MUTATIONS[draw.integers(len(MUTATIONS))](damaged, draw)
    return bytes(damaged)

# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""How much a file may ask of the reader, each with its reason.

An honest checkpoint stays far below all of them. They keep a small file
from taking the time or the memory of a large one.
"""

#: Opcodes of a pickle. The training checkpoint of a large CAE has
#: 80,000. An opcode of one byte can make an object of 200 bytes, so this
#: also limits memory.
MAX_OPCODES = 750_000

#: Levels of containers inside each other. A training checkpoint has about
#: ten; Python's own recursion ends near a thousand.
MAX_DEPTH = 100

#: Objects, counted as often as they are reached. Forty tuples that hold the
#: one before twice are 2**40 objects for whoever prints or copies them.
MAX_OBJECTS = 10_000_000

#: Bytes of text beyond Latin-1, which takes up to four times its size in
#: memory. Names and a config with comments in any language need less.
MAX_WIDE_TEXT = 32 << 20

#: Characters of a name in a pickle. The longest on the list has 50.
MAX_NAME = 1_000

#: Dictionary keys that are tuples. Their hashes can be made to collide,
#: and then the time of a dictionary grows with the square of its size.
MAX_TUPLE_KEYS = 1_000

#: Bytes of all tensors that repeat elements of their storage (``expand``).
#: A copy of such a tensor takes its full size.
MAX_EXPANDED = 64 << 20

#: Entries of a zip archive. A checkpoint has one a tensor.
MAX_ENTRIES = 100_000

#: Bytes of a zip archive's directory: 300 for each entry.
MAX_DIRECTORY = 300 * MAX_ENTRIES

#: Bytes of a safetensors header; the library's own limit.
MAX_HEADER = 100_000_000

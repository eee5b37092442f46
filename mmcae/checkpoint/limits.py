# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""How much a file may ask of the reader, each limit with its reason.

Real checkpoints stay far below all of these limits. The limits keep a small
hostile file from using the time or the memory of a large one.
"""

#: Opcodes of a pickle. The training checkpoint of a large CAE has 80,000.
#: One opcode, which is one byte, can create an object of 200 bytes, so this
#: also limits the memory.
MAX_OPCODES = 750_000

#: Levels of nested containers. A training checkpoint has about ten; Python's
#: recursion limit is near a thousand.
MAX_DEPTH = 100

#: Objects in the result, counted once for each path that leads to them. A
#: chain of 40 tuples, each of which holds the previous one twice, is 2**40
#: objects for code that prints or copies it.
MAX_OBJECTS = 10_000_000

#: Bytes of text with characters beyond Latin-1. In memory, such text can take
#: four times its size in the file. Tensor names and a config with comments in
#: any language need less.
MAX_WIDE_TEXT = 32 << 20

#: Characters of a name in a pickle. The longest allowed name has 50.
MAX_NAME = 1_000

#: Dictionary keys that are tuples. Their hashes can be made to collide, and
#: then the time to fill a dictionary grows with the square of its size.
MAX_TUPLE_KEYS = 1_000

#: Bytes of all tensors that repeat elements of their storage (``expand``).
#: The reader copies such tensors, and a copy takes the full size.
MAX_EXPANDED = 64 << 20

#: Entries of a zip archive. A checkpoint has one entry for each tensor.
MAX_ENTRIES = 100_000

#: Bytes of the directory of a zip archive: 300 for each entry.
MAX_DIRECTORY = 300 * MAX_ENTRIES

#: Bytes of the header of a safetensors file: the limit of the safetensors
#: library.
MAX_HEADER = 100_000_000

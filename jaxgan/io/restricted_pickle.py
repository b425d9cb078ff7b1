"""Reads a pickle as data: nothing that it names is imported, and nothing that it calls is called.

A pickle is a program for a stack machine, and `pickle.load` runs the program: it imports what the program names, and
calls it. The machine of this module knows the opcodes of protocols 2 to 5 that build numbers, texts, bytes and
containers, and refuses all other opcodes. A name becomes a `Global`, two texts. A call becomes what the `call` of the
reader makes of it: a `Record` of the call, or one of a few values that the reader builds itself. State that the pickle
gives an instance becomes `Record.state`, and is dropped for everything else: the file sets no attribute of any object.

A subclass of `pickle.Unpickler` with its own `find_class` is not enough. That class takes the memory that a file
declares before it reads what is there (its memo, byte arrays), hashes any key (a tuple of two tuples of two tuples of
... takes for ever), and sets attributes of whatever lies on its stack. Here the bytes come from `io.BytesIO`, which
gives no more than it has, keys are texts or small integers, and no step recurses.

References:
    Python's pickletools.py, which describes the opcodes.
"""

import dataclasses
import io
import pickletools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

MOST_OPCODES = 2**20  # the published networks have some tens of thousands; an opcode of one byte can take 200 of memory
SMALL = 2**31  # integers that are keys; the hash of one of many digits takes long

LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}


class Global(NamedTuple):
    """The name of a class, a function or a constant."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(eq=False, repr=False, slots=True)  # equality and text would follow any nesting
class Record:
    """What a call would have returned: which one it was, and the state that the pickle gives the result."""

    function: Global
    args: tuple
    state: Any = None


def _no_persistent_load(about: Any) -> Any:
    raise ValueError("it refers to something outside the pickle")


def load(
    file: io.BytesIO,
    find_global: Callable[[Global], Global] = lambda name: name,
    call: Callable[[Global, tuple], Any] = Record,
    persistent_load: Callable[[Any], Any] = _no_persistent_load,
) -> Any:
    """What the next pickle of a file describes.

    Args:
        file: stands behind the pickle afterwards.
        find_global: returns a name, or raises a `ValueError` if the file may not have it.
        call: what stands for the result of a call of a function, or for a new instance of a class.
        persistent_load: what stands for something outside the pickle.

    Raises:
        ValueError: an opcode, a name or a call is refused, or there are too many opcodes.
        TypeError, LookupError, AttributeError, OverflowError, EOFError, struct.error: the pickle makes no sense.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of backslashes in names
        return _Machine(find_global, call, persistent_load).run(file)


class _Machine:
    def __init__(self, find_global: Callable, call: Callable, persistent_load: Callable):
        self.find_global, self.call, self.persistent_load = find_global, call, persistent_load
        self.stack, self.marks, self.memo = [], [], {}

    def popped(self, count: int) -> list:
        """The last items of the stack."""
        return self._taken(len(self.stack) - count)

    def marked(self) -> list:
        """The items behind the last mark."""
        return self._taken(self.marks.pop())

    def _taken(self, start: int) -> list:
        if not 0 <= start <= len(self.stack):
            raise ValueError("it takes more from its stack than there is")
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def run(self, file: io.BytesIO) -> Any:
        """Follows opcodes that build data; passes others on."""
        stack = self.stack
        for count, (opcode, arg, _) in enumerate(pickletools.genops(file)):
            if count == MOST_OPCODES:
                raise ValueError(f"it has more than {MOST_OPCODES} opcodes")
            match opcode.name:
                case "PROTO" | "FRAME" | "STOP":
                    pass
                case name if name in LITERALS:
                    stack.append(arg)
                case name if name in CONSTANTS:
                    stack.append(CONSTANTS[name])
                case name if name in EMPTY:
                    stack.append(EMPTY[name]())
                case "MARK":
                    self.marks.append(len(stack))
                case "POP":
                    stack.pop()
                case "POP_MARK":
                    self.marked()
                case "TUPLE":
                    stack.append(tuple(self.marked()))
                case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                    stack.append(tuple(self.popped(int(name[-1]))))
                case "FROZENSET":
                    stack.append(frozenset(keys(self.marked())))
                case "APPEND" | "APPENDS" | "ADDITEMS" | "SETITEM" | "SETITEMS" as name:
                    items = self.marked() if name.endswith("S") else self.popped(2 if name == "SETITEM" else 1)
                    self.fill(stack[-1], items, name)
                case "MEMOIZE":
                    self.memo[len(self.memo)] = stack[-1]
                case "BINPUT" | "LONG_BINPUT":
                    self.memo[arg] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(self.memo[arg])
                case name:
                    self.refer(name, arg)
        return stack.pop()

    def fill(self, container: Any, items: list, name: str) -> None:
        """Adds items to a container; what is added to a `Record` is dropped."""
        match container:
            case Record():
                pass
            case dict() if name.startswith("SETITEM"):
                container.update(zip(keys(items[::2]), items[1::2], strict=True))
            case list() if name.startswith("APPEND"):
                container.extend(items)
            case set() if name == "ADDITEMS":
                container.update(keys(items))
            case _:
                raise ValueError(f"it has the opcode {name} for something else than it is meant for")

    def refer(self, name: str, arg: Any) -> None:
        """Follows an opcode that names, calls or changes what lies outside the pickle: nothing of that happens."""
        stack = self.stack
        match name:
            case "GLOBAL":
                module, _, own = arg.partition(" ")
                stack.append(self.find_global(Global(module, own)))
            case "STACK_GLOBAL":
                module, own = self.popped(2)
                if not (isinstance(module, str) and isinstance(own, str)):
                    raise ValueError("a name is no text")
                stack.append(self.find_global(Global(module, own)))
            case "REDUCE" | "NEWOBJ":
                function, args = self.popped(2)
                if not (isinstance(function, Global) and isinstance(args, tuple)):
                    raise ValueError("it calls something that has no name")
                stack.append(self.call(function, args))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Record):
                    stack[-1].state = state
            case "BINPERSID":
                stack.append(self.persistent_load(stack.pop()))
            case _:  # those of protocols 0 and 1, of registered extensions, of buffers outside the file
                raise ValueError(f"it has the opcode {name}, which no file of weights has")


def keys(items: list) -> list[str | int]:
    """The items, if each is a text or a small integer."""
    for item in items:
        if not (isinstance(item, str) or (isinstance(item, int) and -SMALL < item < SMALL)):
            raise ValueError("a key is neither a text nor a small integer")
    return items

"""Settings: declared beside the code that reads them, put together by the choices that a configuration makes.

A declaration is a mapping from names to `Setting`, `Choice` or a further mapping, a group. A choice's value names an
entry of a table, and the entry brings settings of its own into the choice's group. So a configuration has exactly the
settings of what it chose, and its names depend on names, never on numbers.
"""

import json
import math
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Union

from ml_collections import ConfigDict

from jaxgan.errors import UserError, choose
from jaxgan.io.files import atomic_write

MAX_SEED = 2**32 - 1
MAX_COUNT = 2**31 - 1  # what an int32 holds, as steps are counted and arrays are shaped
MAX_FLOAT = (2 - 2**-23) * 2.0**127  # what a float32 holds


class Range(NamedTuple):
    """Values that are allowed, and how a person says so."""

    valid: Callable[[Any], bool]
    expected: str


ANY = Range(lambda value: True, "")
POSITIVE = Range(lambda value: value >= 1, "at least 1")
NOT_NEGATIVE = Range(lambda value: 0 <= value <= MAX_FLOAT, "at least 0")
ABOVE_ZERO = Range(lambda value: 0 < value <= MAX_FLOAT, "above 0")
FRACTION = Range(lambda value: 0 <= value <= 1, "from 0 to 1")
BELOW_ONE = Range(lambda value: 0 <= value < 1, "at least 0 and below 1")
DIMENSIONS = Range(
    lambda value: all(isinstance(each, int) and 1 <= each <= MAX_COUNT for each in value),
    "whole numbers of at least 1",
)
INTERVAL = Range(
    lambda value: (
        len(value) == 2 and all(isinstance(each, int | float) for each in value) and 0 <= value[0] <= value[1] <= 1
    ),
    "two numbers from 0 to 1, the smaller first",
)


def one_of(*names: str) -> Range:
    """One of some words that bring no settings of their own."""
    return Range(lambda value: value in names, " or ".join([", ".join(names[:-1]), names[-1]]))


class Setting(NamedTuple):
    """A value that a component reads.

    Attributes:
        default: whose type all values have.
        help: one line.
        range: what values are allowed.
        sweepable: whether members of a population may differ in it, and whether it may follow a schedule over steps.
        resumable: whether a run that goes on may change it: no step depends on it.
        or_text: whether a text is allowed as well, where the default is a whole number.
    """

    default: Any
    help: str
    range: Range = ANY
    sweepable: bool = False
    resumable: bool = False
    or_text: bool = False

    @property
    def types(self) -> tuple[type, ...]:
        """Of all values."""
        return (type(self.default), str) if self.or_text else (type(self.default),)


class Choice(NamedTuple):
    """A setting whose value names an entry of a table.

    Attributes:
        default: the name of an entry.
        help: one line.
        table: () -> {name: the settings that it brings into this group, or why it cannot be chosen here}.
        key: value -> the name of its entry, where a value says more than that.
        resumable: as in `Setting`.
    """

    default: str
    help: str
    table: Callable[[], Mapping[str, Union["Settings", str]]]
    key: Callable[[str], str] = lambda value: value
    resumable: bool = False
    types: tuple[type, ...] = (str,)


# Of Setting, Choice, Settings, or a function that gives Settings: where these are made of a table that may grow.
Settings = Mapping[str, Any]
Declarations = dict[str, Setting | Choice]


def opened(entry: Any) -> Any:
    """A declaration; a function that gives one is called."""
    return entry() if callable(entry) else entry


def names_of(table: Mapping[str, object]) -> Callable[[], Mapping[str, Settings]]:
    """The table of a choice among names that bring no settings."""
    return lambda: dict.fromkeys(table, MappingProxyType({}))


def resolve(
    declared: Settings, values: Mapping[str, Any], prefix: str = "", lenient: Collection[str] = ()
) -> Declarations:
    """The settings that exist where choices have these values: {dotted name: declaration}.

    Args:
        declared: all of them.
        values: by dotted name; a choice without one has its default.
        prefix: of the names.
        lenient: choices whose values count as their defaults if their tables lack them.

    Raises:
        UserError: a choice names no entry of its table, or one that cannot be chosen here.
    """
    found: Declarations = {}
    for name, entry in declared.items():
        dotted, entry = prefix + name, opened(entry)  # noqa: PLW2901
        if isinstance(entry, Mapping):
            found |= resolve(entry, values, f"{dotted}.", lenient)
            continue
        found[dotted] = entry
        if isinstance(entry, Choice):
            value = values.get(dotted, entry.default)
            if dotted in lenient and not _fits(entry, value):
                value = entry.default
            found |= resolve(brought(dotted, entry, value), values, prefix, lenient)
    return found


def brought(dotted: str, choice: Choice, value: Any) -> Settings:
    """The settings that a choice's value brings."""
    table = choice.table()
    entry = table[choose(f"config.{dotted}", choice.key(str(value)), table)]
    if isinstance(entry, str):
        able = ", ".join(name for name, other in table.items() if not isinstance(other, str))
        raise UserError(f"config.{dotted}={value} {entry}: choose from {able}")
    return entry


def default(declared: Settings, values: Mapping[str, Any] = MappingProxyType({})) -> ConfigDict:
    """A configuration of all settings that exist with these values, and their defaults for the others."""
    resolved = resolve(declared, values)
    for name in values:
        check_name(declared, resolved, values, name)
    # A ConfigDict knows one type for each value; in groups where one has several, `validate` looks at types alone.
    loose = {name.split(".")[-2] for name, entry in resolved.items() if len(entry.types) > 1}
    config = ConfigDict()
    for name, entry in resolved.items():
        *groups, last = name.split(".")
        group = config
        for part in groups:
            if part not in group:
                group[part] = ConfigDict(type_safe=part not in loose)
            group = group[part]
        group[last] = entry.default
    config.lock()
    for name, value in values.items():
        assign(config, name, value, resolved[name].types)
    return config


def check_name(declared: Settings, resolved: Collection[str], values: Mapping[str, Any], name: str) -> None:
    """Raises a `UserError` for a setting that does not exist; where another choice would have it, it is named."""
    if name in resolved:
        return
    changes: list[tuple[str, str]] = []  # of one choice each
    for other, _, conditions in walk(declared):
        if other != name:
            continue
        missing = [(choice, entry) for choice, entry in conditions if _entry_of(declared, values, choice) != entry]
        if missing and missing[0] not in changes:
            changes.append(missing[0])
    # Choices by which one change may do, where there are such.
    near = {change[0] for change in changes if _exists_after(declared, values, change, name)}
    able: dict[str, list[str]] = {}
    for choice, entry in changes:
        if choice in near or not near:
            able.setdefault(choice, []).append(entry)
    if able:
        reasons = ", or ".join(f"{choice}={' or '.join(entries)}" for choice, entries in able.items())
        raise UserError(f"config.{name} has no effect here: {reasons} has it")
    choose("setting", f"config.{name}", [f"config.{other}" for other in resolved])


def _exists_after(declared: Settings, values: Mapping[str, Any], change: tuple[str, str], name: str) -> bool:
    """Whether a setting exists once a choice has another value, with no further change."""
    try:
        return name in resolve(declared, {**values, change[0]: change[1]}, lenient=(name,))
    except UserError:  # the other choices do not go with it
        return False


def walk(
    declared: Settings, prefix: str = "", above: tuple[tuple[str, str], ...] = ()
) -> Iterator[tuple[str, Setting | Choice, tuple[tuple[str, str], ...]]]:
    """Every setting of every choice: (dotted name, declaration, the (choice, entry) pairs under which it exists)."""
    for name, entry in declared.items():
        dotted, entry = prefix + name, opened(entry)  # noqa: PLW2901
        if isinstance(entry, Mapping):
            yield from walk(entry, f"{dotted}.", above)
            continue
        yield dotted, entry, above
        if isinstance(entry, Choice):
            for key, settings in entry.table().items():
                if not isinstance(settings, str):
                    yield from walk(settings, prefix, (*above, (dotted, key)))


def every_name(declared: Settings) -> set[str]:
    """The names of the settings of all choices."""
    return {name for name, *_ in walk(declared)}


def _entry_of(declared: Settings, values: Mapping[str, Any], name: str) -> str | None:
    """The entry that a choice names at present."""
    choice = resolve(declared, values).get(name)
    return choice.key(str(values.get(name, choice.default))) if isinstance(choice, Choice) else None


def with_changes(
    declared: Settings, config: ConfigDict, changes: Mapping[str, Any]
) -> tuple[ConfigDict, dict[str, Any]]:
    """The configuration after other choices.

    Values that differ from their defaults are kept where the new choices have a setting of that name and type; a kept
    name that its new table lacks takes the default.

    Args:
        declared: all settings.
        config: before.
        changes: by dotted name, choices among them.

    Returns:
        The new configuration, and the values that were dropped.
    """
    before = flatten(config)
    old = resolve(declared, before)
    differs = {name: value for name, value in before.items() if value != old[name].default and name not in changes}
    kept = differs
    while True:
        new = resolve(declared, kept | dict(changes), lenient=kept)
        fits = {name: value for name, value in kept.items() if name in new and _fits(new[name], value)}
        if fits == kept:
            break
        kept = fits
    changed = default(declared, kept | dict(changes))
    return changed, {name: value for name, value in differs.items() if name not in kept}


def _fits(entry: Setting | Choice, value: Any) -> bool:
    """Whether a kept value is one of a setting's."""
    if isinstance(entry, Choice):
        return isinstance(value, str) and not isinstance(entry.table().get(entry.key(value), ""), str)
    known = type(value) in entry.types or (type(value), type(entry.default)) == (int, float)
    return known and entry.range.valid(value)


def validate(declared: Settings, config: ConfigDict) -> Declarations:
    """The declarations of a configuration's settings, once each value was found to be in its range.

    Raises:
        UserError: a setting that does not exist, that is missing, of another type, or out of range.
    """
    flat = flatten(config)
    resolved = resolve(declared, flat)
    for name in flat:
        check_name(declared, resolved, flat, name)
    for name, entry in resolved.items():
        if name not in flat:
            raise UserError(f"config.{name} is missing: begin with jaxgan.config.default, which has it")
        whole = type(flat[name]) is int and entry.types == (float,)  # in a group that takes any type
        # A file may hold None, which a ConfigDict takes for anything.
        if type(flat[name]) not in entry.types and not whole:
            raise UserError(f"config.{name}={_short(flat[name])} must be like {entry.default!r}")
    swept = sweep(config, resolved) if "sweep" in flat else {}
    for name, entry in resolved.items():
        for value in (flat[name], *swept.get(name, ())):
            if type(value) is int and value > MAX_COUNT and name != "seed":
                raise UserError(f"config.{name}={value} must be at most {MAX_COUNT}")
            if type(value) is float and MAX_FLOAT < value < math.inf:
                raise UserError(f"config.{name}={value} must be at most {MAX_FLOAT:.3g}")
            if isinstance(entry, Setting) and not entry.range.valid(value):
                raise UserError(f"config.{name}={value} must be {entry.range.expected}")
    return resolved


def sweep(config: ConfigDict, resolved: Declarations) -> dict[str, tuple[float, ...]]:
    """The settings in which the members of a population differ: dotted name -> one value for each of them.

    Raises:
        UserError: `config.sweep` is not a list of settings with a value for each member.
    """
    found = {}
    sweepable = [name for name, entry in resolved.items() if isinstance(entry, Setting) and entry.sweepable]
    for part in filter(None, map(str.strip, config.sweep.split(";"))):
        name, _, text = (piece.strip() for piece in part.partition("="))
        choose("setting in config.sweep", name, sweepable)
        if config.population == 1:
            raise UserError(f"config.sweep={config.sweep!r} is for a population: config.population=1 must be larger")
        if name in found:
            raise UserError(f"config.sweep={config.sweep!r} must have {name} once")
        try:
            found[name] = tuple(float(value) for value in text.split(","))
        except ValueError:
            raise UserError(f"config.sweep={config.sweep!r}: {name} must be followed by = and numbers") from None
        if len(found[name]) != config.population:
            raise UserError(
                f"config.sweep={config.sweep!r}: {name} has {len(found[name])} values, and config.population="
                f"{config.population} members need as many"
            )
    return found


def split_names(entries: tuple) -> tuple[str, ...]:
    """The names in a setting: ("a", "b") or, as the command line gives it, ("a,b",)."""
    return tuple(name.strip() for entry in entries for name in str(entry).split(",") if name.strip())


def differences(old: ConfigDict, new: ConfigDict) -> dict[str, tuple]:
    """The settings in which two configurations differ: dotted name -> (old value, new value), None where absent."""
    one, two = flatten(old), flatten(new)
    names = sorted(one.keys() | two.keys())
    return {name: (one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)}


def flatten(config: ConfigDict) -> dict[str, Any]:
    """{dotted name: value}."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat.update({f"{name}.{key}": leaf for key, leaf in flatten(value).items()})
        else:
            flat[name] = value
    return flat


def save(config: ConfigDict, path: Path) -> None:
    """Writes the configuration as JSON, all of it or nothing."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(config.to_dict(), indent=2) + "\n")


def load(declared: Settings, path: Path) -> ConfigDict:
    """Reads what `save` wrote; a setting that the file lacks takes its default.

    Raises:
        UserError: the file is not JSON, or holds an unknown setting or a value of the wrong type.
    """
    try:
        values = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:  # the latter of lists in lists in lists
        raise UserError(f"{path} is not valid JSON ({error}): restore it, or train into a new folder") from error
    flat = dict(_leaves(values, path))
    try:
        choices = {name: value for name, value in flat.items() if isinstance(value, str)}
        config = default(declared, {name: choices[name] for name in resolve(declared, choices) if name in choices})
        resolved = resolve(declared, choices)
        for name, value in flat.items():
            if any(other.startswith(f"{name}.") for other in resolved):
                if value == {}:
                    continue
                raise UserError(f"config.{name} must be an object in braces, not {_short(value)}")
            check_name(declared, resolved, choices, name)
            assign(config, name, value, resolved[name].types)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return config


def _leaves(values: object, path: Path, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(values, dict):
        raise UserError(f"{path}: {prefix or 'the whole file'} must be an object in braces, not {_short(values)}")
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, path, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def assign(config: ConfigDict, name: str, value: Any, types: tuple[type, ...]) -> None:
    """Sets a value; a `UserError` if its type is none of a setting's."""
    *groups, last = name.split(".")
    group = config
    for part in groups:
        group = group[part]
    try:
        if value is None or isinstance(group[last], ConfigDict):  # None would be taken for any setting
            raise TypeError
        new = tuple(value) if isinstance(value, list) else value
        new = float(new) if type(new) is int and types == (float,) else new
        if not group.is_type_safe and type(new) not in types:
            raise TypeError
        group[last] = new
    except (TypeError, OverflowError) as error:  # the latter of a whole number that no float can be
        raise UserError(f"config.{name}={_short(value)} must be like {group[last]!r}") from error


def _short(value: object) -> str:
    """A value from a file so that a person can read it: whatever stood there may be long and deep."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 80
    return short.repr(value)

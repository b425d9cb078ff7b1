"""Prints the table of all settings in docs/configuration.md, from their declarations.

python docs/make_settings_table.py
"""

from collections.abc import Mapping
from typing import Any

from jaxgan.config import SETTINGS
from jaxgan.core.settings import Choice, walk

Chain = tuple[tuple[str, str], ...]  # (choice, entry) pairs under which a setting exists

HEADER = ("setting", "default", "range", "meaning", "choice that brings it", "sweepable", "resumable")
ANYTHING = {bool: "True or False", str: "text", tuple: "names, with commas between"}  # of settings without a range


def entries(choice: Choice) -> dict[str, Mapping[str, Any]]:
    """What can be chosen: name -> settings. A string in the table says why an entry cannot be chosen."""
    return {name: brought for name, brought in choice.table().items() if not isinstance(brought, str)}


def brought_by(chains: list[Chain], tables: Mapping[tuple[Chain, str], int]) -> str:
    """The choices that bring a setting, as text. A choice all of whose entries bring the setting is left out."""
    found: dict[tuple[str, ...], list[Chain]] = {}
    for chain in chains:
        found.setdefault(tuple(choice for choice, _ in chain), []).append(chain)
    texts = []
    for choices, alike in found.items():
        parts = []
        for place, choice in enumerate(choices):
            names = list(dict.fromkeys(chain[place][1] for chain in alike))
            if any(len(names) < tables[chain[:place], choice] for chain in alike):
                parts.append(f"`{choice}={' or '.join(names)}`")
        texts.append(", ".join(parts))
    return " or ".join(filter(None, texts))


def settings_table(settings: Mapping[str, Any] = SETTINGS) -> str:
    """A Markdown table with a row for each setting, and for each default or meaning that it has under some choice."""
    rows: dict[tuple, list[Chain]] = {}
    tables: dict[tuple[Chain, str], int] = {}
    for name, entry, chain in walk(settings):
        if isinstance(entry, Choice):
            tables[chain, name] = len(entries(entry))
            values, sweepable = ", ".join(f"`{key}`" for key in entries(entry)), False
        else:
            values = entry.range.expected or ANYTHING.get(type(entry.default), "")
            sweepable = entry.sweepable
        default = f"`{entry.default!r}`".replace("'", '"')
        flags = ("yes" if flag else "" for flag in (sweepable, entry.resumable))
        rows.setdefault((f"`{name}`", default, values, entry.help, *flags), []).append(chain)
    places = {name: place for place, name in enumerate(dict.fromkeys(cells[0] for cells in rows))}

    def order(row: tuple[tuple, list[Chain]]) -> tuple[bool, int]:
        """What every algorithm's runs have comes first; the rows of a name stand together."""
        cells, chains = row
        return any(choice == "algorithm" for choice, _ in chains[0]), places[cells[0]]

    lines = [HEADER, ("---",) * len(HEADER)]
    for cells, chains in sorted(rows.items(), key=order):
        lines.append((*cells[:4], brought_by(chains, tables), *cells[4:]))
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    print(settings_table())

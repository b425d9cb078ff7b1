"""Tables of measurements: on the screen, and appended to benchmarks/RESULTS.md."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import jax

RESULTS = Path(__file__).parent / "RESULTS.md"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(*packages: str) -> str:
    """What the numbers were measured on, and with which versions, in one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "a processor")
    device = jax.devices()[0].device_kind
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"{os.cpu_count()} cores of {processor}; {device}; Python {platform.python_version()}, {versions}"


def append(title: str, command: str, text: str) -> None:
    """Prints a section and adds it to the results."""
    section = f"## {title}, {datetime.date.today()}\n\n`{command}`\n\n{text}\n"
    print(section)
    with RESULTS.open("a") as file:
        file.write(
            ("" if file.tell() else "# Results\n\nWritten by the programs in this folder, newest last.\n")
            + "\n"
            + section
        )


def replace(page: Path, name: str, command: str, text: str) -> None:
    """Prints a section and puts it on a page, between the comments <!-- NAME --> and <!-- end of NAME -->."""
    print(text)
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = page.read_text().partition(first)
    page.write_text(
        f"{before}{first}\n\n{command}, {datetime.date.today()}\n\n{text}\n\n{last}{rest.partition(last)[2]}"
    )

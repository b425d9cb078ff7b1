"""The Python code of the documents runs: all blocks of a document in order, in one process, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = [
    path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```python" in path.read_text()
]


def code_of(text: str) -> str:
    """The code of a document on the lines where it stands, so that a traceback names the document's own lines."""
    lines = [""] * (text.count("\n") + 1)
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        own = block[1].splitlines()
        lines[first : first + len(own)] = own
    return "\n".join(lines) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_code_of_a_document_runs(document, tmp_path):
    code = f"exec(compile({code_of(document.read_text())!r}, {str(document)!r}, 'exec'))"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::FutureWarning"}
    command = ["timeout", "-s", "KILL", "600", sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{document.name}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"


def test_the_documents_that_show_code_are_run():
    assert {"README.md", "extending.md"} <= {path.name for path in DOCUMENTS}
    for document in DOCUMENTS:
        text = document.read_text()
        assert len(BLOCK.findall(text)) == text.count("```python"), f"a block of {document.name} is not closed"
        compile(code_of(text), document.name, "exec")


def test_code_stands_on_its_own_lines():
    text = "# Title\n\n```python\na = 1\n```\n\ntext\n\n```sh\nls\n```\n\n```python\nb = a + 1\n```\n"
    lines = code_of(text).splitlines()
    assert (lines[3], lines[13]) == ("a = 1", "b = a + 1")
    assert [line for line in lines if line] == ["a = 1", "b = a + 1"]


def test_the_table_of_settings_is_that_of_the_code():
    """docs/make_settings_table.py prints it anew."""
    printed = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_settings_table.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.strip() in (ROOT / "docs" / "configuration.md").read_text()

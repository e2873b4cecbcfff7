"""Write docs/mutants.md, which checks fail on which mutant: ``python -m mutants.table FOLDER``.

FOLDER has a folder for each area, as ``python -m mutants AREA FOLDER/AREA --every-check`` fills it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import msgspec

from coreml_assay.files import write_bytes
from coreml_assay.records import CheckResult, Outcome
from mutants.areas import AREAS
from mutants.mutant import Mutant

PAGE = Path(__file__).parents[2] / "docs" / "mutants.md"
HEAD = """\
# Wrong implementations, and what refuses them

Each is the reference with one fault (`tests/mutants`), and has to fail by the clause that it
violates. The last column counts the checks of that clause that fail on it, of all that there are
under that name, in the quick profile with seed 0. The tests run every one of them up to the first
check that fails; this page is written by

```sh
cd tests
for area in weights activations torch-ptq gptq linear-quantizer; do
  mkdir -p mutants-of/$area
  python -m mutants $area mutants-of/$area --every-check
done
python -m mutants.table mutants-of
```
"""


def in_words(mutant: type[Mutant]) -> str:
    """A mutant's fault: its name as words."""
    words = re.findall(r"NaN|[A-Z]?[a-z]+\d*|\d+", mutant.__name__)
    return " ".join([words[0], *(word if word == "NaN" else word.lower() for word in words[1:])])


def row(mutant: type[Mutant], results: list[CheckResult]) -> str:
    """A line of the table."""
    names = [(result.check.split("[")[0], result.outcome) for result in results]
    total = Counter(name for name, _ in names)
    failed = Counter(name for name, outcome in names if outcome is Outcome.FAIL)
    killed = [f"`{name}` {number} of {total[name]}" for name, number in sorted(failed.items())]
    return f"| {in_words(mutant)} | {mutant.violates} | {'<br>'.join(killed)} |"


def read(file: Path) -> list[CheckResult]:
    """The results of a run."""
    lines = file.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=CheckResult) for line in lines]


def main(folder: Path) -> None:
    parts = [HEAD]
    for area, mutants in AREAS.items():
        rows = [row(each, read(folder / area / f"{each.__name__}.jsonl")) for each in mutants]
        table = ["| Fault | Clause | Checks that fail |", "|---|---|---|", *rows]
        parts.append(f"## {area}, {len(mutants)}\n\n" + "\n".join(table) + "\n")
    write_bytes(PAGE, "\n".join(parts).encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

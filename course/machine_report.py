"""What ``course env`` prints: is this machine ready, and which profiles run here?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.files import OUTPUTS
from toolkit.machine_check import checks

if TYPE_CHECKING:
    import pandas as pd


def report_machine(as_json: bool = False) -> int:
    """Print both tables, or as JSON ``{"ready": bool, "outputs": folder, "findings": [...], …}``.

    Returns:
        0, or 1 if something is missing that the course cannot do without.
    """
    machine = checks.look_here()
    rows, profiles = checks.check_table(machine), checks.profile_table(machine)
    writable = can_write(OUTPUTS)
    ready = writable and not (rows["verdict"] == "missing").any()
    if as_json:
        tables = {"findings": rows, "packages": checks.package_table(machine), "profiles": profiles}
        records = {name: table.to_dict("records") for name, table in tables.items()}
        print(json.dumps({"ready": bool(ready), "outputs": str(OUTPUTS), **records}, indent=2))
        return 0 if ready else 1
    print(_flush_left(rows.drop(columns="remedy")))
    remedies = rows[rows["remedy"] != ""]
    if len(remedies):
        print("\nWhat to do:")
        for row in remedies.itertuples():
            print(f"  {row.item} ({row.verdict}): {row.remedy}")
    print("\nProfiles:")
    print(_flush_left(profiles))
    print(f"\nOutputs go to {OUTPUTS}{'' if writable else ', which cannot be written: set COURSE_OUTPUTS'}.")
    print("\nThis machine is ready for the course." if ready else "\nThis machine is not ready: see 'missing' above.")
    return 0 if ready else 1


def can_write(folder: Path) -> bool:
    """Whether files can be written into a folder, which is perhaps still to be made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def _flush_left(table: pd.DataFrame) -> str:
    rows = [list(table.columns), *[[str(cell) for cell in row] for row in table.itertuples(index=False)]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)

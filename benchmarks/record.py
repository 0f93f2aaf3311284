"""A record of a measurement: when, where and by which command it was made, and what was found."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from helpers.files import write_whole
from helpers.provenance import these_versions, this_machine


def write_record(out: Path, command: str, found: dict[str, Any]) -> None:
    """Write what was found as JSON, after today's date, this machine, the versions and the command."""
    about = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": this_machine().describe(),
        "versions": these_versions(),
        "command": command,
    }
    write_whole(out, json.dumps(about | found | about, indent=1) + "\n")

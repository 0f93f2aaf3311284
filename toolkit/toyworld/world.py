"""What the toy world holds, and how it is worded: ``world.yaml``."""

from pathlib import Path
from typing import Any

import yaml

WORLD: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("world.yaml").read_text(encoding="utf-8"))
COLOURS, FURS = ({name: tuple(colour) for name, colour in WORLD[kind].items()} for kind in ("colours", "furs"))

"""The zoom tool as the tiny Thinking edition sees it: how it is offered, and how it is called."""

from __future__ import annotations

import json
from collections.abc import Sequence

#: Qwen's own name, as in its cookbook "think with images".
NAME = "image_zoom_in_tool"
#: How the chat template of the Thinking edition shows the tool to the model, as a system prompt.
OFFERED = f"# Tools\n<tools>\n{NAME}(bbox_2d, label)\n</tools>"


def zoom_call(bbox_2d: Sequence[int], label: str) -> str:
    """The call as the model writes it, which vLLM's parser ``hermes`` reads."""
    call = json.dumps({"name": NAME, "arguments": {"bbox_2d": list(bbox_2d), "label": label}})
    return f"<tool_call>\n{call}\n</tool_call>"

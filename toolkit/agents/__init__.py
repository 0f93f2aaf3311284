"""Thinking and tools: what a server's parsers make of an answer, and a loop in which a model uses tools.

Qwen3-VL's Thinking editions write thoughts before the answer; tool calls are JSON between ``<tool_call>`` tags. The
server's parsers take both out of the text, if they suit the edition; `parser_matrix` shows what happens if not.

    zoom = zoom_tool(image)                         # crops what lies in a box of 0 to 1000 on the user's image
    run = run_tools(ChatModel(client, name), messages, [zoom], Limits(steps=6, tokens=2048, seconds=60))
    run.answer, run.ended                           # None and the reason, if a limit came first
    draw_steps(image, run)                          # each step's crop, and where it lies on the image

* `thinking_edition` is the profile of a model's Thinking edition.
* `Tool` is a function with its JSON schema. Whatever a model gets wrong, such as a name, JSON, a box outside the image
  or an argument that makes the function raise, goes back to it as the call's result, and the loop goes on.
* A tool that `changes` something runs only if ``approve`` says so; nobody is asked on a model's behalf.
* `ChatModel` and `ResponsesModel` speak with a server by either API.
* `grade` is the evaluation's: 'right', 'wrong' or 'unreadable', in whatever words an answer comes.
* `Desktop` is a drawn window (`toolkit.toyworld.windows`) that a model uses by Qwen's ``computer_use`` convention.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.agents.desktop import Desktop
    from toolkit.agents.drawing import draw_steps
    from toolkit.agents.editions import thinking_edition
    from toolkit.agents.loop import Limits, run_tools
    from toolkit.agents.models import ChatModel, ResponsesModel
    from toolkit.agents.parsers import parser_matrix
    from toolkit.agents.tools import Tool
    from toolkit.agents.zoom import zoom_tool
    from toolkit.evaluation.metrics.scoring import grade

__all__, __getattr__, __dir__ = lazy_names(__name__)

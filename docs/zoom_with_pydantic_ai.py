"""The zoom loop by Pydantic AI: python docs/zoom_with_pydantic_ai.py URL MODEL IMAGE QUESTION [TOOL_CHOICE [KEY]]"""

import io
import sys

from PIL import Image
from pydantic_ai import Agent, BinaryContent, ModelRetry, Tool, ToolReturn, UsageLimits
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from helpers.errors import CourseError
from toolkit.agents import zoom_tool


def png(image):
    image.save(buffer := io.BytesIO(), format="PNG")
    return BinaryContent(buffer.getvalue(), media_type="image/png")


def zoom(url, name, image, question, first="auto", key="none"):
    """Ask about an image that the model may zoom into; `first` is the `tool_choice` of the first request."""
    course_tool, boxes = zoom_tool(image), []

    def look(**arguments):
        try:
            result = course_tool.function(**arguments)
        except (CourseError, TypeError, ValueError) as error:
            raise ModelRetry(str(error)) from None  # goes back to the model
        boxes.append(result.box)
        return ToolReturn("the part in the box", content=[png(result.image)])

    tool = Tool.from_schema(look, course_tool.name, course_tool.description, course_tool.parameters)
    agent = Agent(OpenAIChatModel(name, provider=OpenAIProvider(base_url=url, api_key=key)), tools=[tool], retries=2)
    run = agent.run_sync(
        [png(image), question],
        model_settings=lambda context: {
            "temperature": 0,
            "max_tokens": 512,
            "tool_choice": first if context.run_step == 1 else "auto",
        },
        usage_limits=UsageLimits(request_limit=6, tool_calls_limit=8, output_tokens_limit=4096),
        timeout=120,  # seconds for all requests together
    )
    return run, boxes


if __name__ == "__main__":
    url, name, path, question, *first = sys.argv[1:]
    run, boxes = zoom(url, name, Image.open(path).convert("RGB"), question, *first)
    print("boxes in pixels of the image:", [tuple(round(side) for side in box) for box in boxes])
    print("answer:", run.output)
    print("requests:", run.usage.requests, "tokens written:", run.usage.output_tokens)

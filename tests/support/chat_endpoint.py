"""An endpoint in this process that speaks OpenAI's chat completions, and behaves as badly as it is told to."""

import asyncio
import json
import re
import threading
from collections import Counter


def answer(text="A dog.", reason="stop", **message):
    return {
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": reason}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }


class ChatEndpoint:
    """HTTP/1.1 in a thread. ``plan(question, time)`` says what happens when a question comes for the nth time.

    It returns a body (dict or bytes), (status, headers, body), 'close' before or 'cut' within the answer, 'drip' for an
    answer that comes byte by byte, or an awaitable of one of these.
    """

    def __init__(self, plan=lambda question, time: answer(f"re: {question}"), version="0.32.0", models=("m",)):
        self.plan, self.version, self.models = plan, version, models
        self.files = None
        """What it says that its models are read from."""
        self.bodies, self.headers, self.times = [], [], Counter()
        self.under_way = self.most_under_way = 0

    def __enter__(self):
        self.loop, ready = asyncio.new_event_loop(), threading.Event()

        async def start():
            self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=1 << 24)
            self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"
            ready.set()

        def run():  # one run of the loop: between two, a stop that comes early would be lost
            self.starting = self.loop.create_task(start())
            self.loop.run_forever()

        self.thread = threading.Thread(target=run)
        self.thread.start()
        ready.wait(30)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stop_listening)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.close()

    def stop_listening(self):
        self.server.close()

    @property
    def questions(self):
        return [question_of(body) for body in self.bodies]

    async def serve(self, reader, writer):
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b""
                if not await self.reply(head, body, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def reply(self, head, body, writer):
        what = self.facts(head) if head.startswith("GET") else await self.planned(head, json.loads(body))
        if what == "close":
            return False
        if what == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6000\r\n\r\n")
            for _ in range(6000):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        cut = what == "cut"
        status, headers, content = what if isinstance(what, tuple) else (200, {}, answer() if cut else what)
        content = json.dumps(content).encode() if isinstance(content, dict) else content
        lines = [f"HTTP/1.1 {status} Some Reason", f"Content-Length: {len(content)}", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (content[: len(content) // 2] if cut else content))
        await writer.drain()
        return not cut

    def facts(self, head):
        if " /version " in head and self.version:
            return {"version": self.version}
        if " /v1/models " in head and self.models:
            return {"data": [{"id": name, "root": self.files} for name in self.models]}
        return 404, {}, b"not here"

    async def planned(self, head, body):
        self.headers.append(head)
        self.bodies.append(body)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        question = question_of(body)
        self.times[question] += 1
        try:
            what = self.plan(question, self.times[question])
            return await what if asyncio.iscoroutine(what) else what
        finally:
            self.under_way -= 1


def question_of(body):
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def calling(*calls):
    """A reply that calls tools: (name, arguments as JSON or as any text)."""
    told = [
        {"id": f"c{place}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for place, (name, arguments) in enumerate(calls)
    ]
    return answer(None, "tool_calls", tool_calls=told)


class Scripted(ChatEndpoint):
    """Gives these replies in turn, the last one for ever."""

    def __init__(self, *replies):
        super().__init__()
        self.replies = list(replies)

    async def planned(self, head, body):
        self.bodies.append(body)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return await reply() if callable(reply) else reply

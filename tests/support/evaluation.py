"""What tests of the evaluation share: an endpoint that misbehaves on demand, transcripts, scenes, a judge's replies."""

import asyncio
import json
import random
import re
import threading
from collections import Counter

from toolkit.evaluation.inference.transcripts import Medium, Transcript
from toolkit.evaluation.judging.rubric import read_rubric
from toolkit.toyworld.items import Item
from toolkit.toyworld.scenes import _describe_question, make_facts

MODEL = "m"
SAMPLING = {"temperature": 0.0, "top_p": 1.0, "max_completion_tokens": 16, "seed": 0}
PICTURE = Medium(path="a.png", sha256="0" * 64, width=64, height=32)


# ---------------------------------------------------------------- an endpoint


def answer(text="A dog.", reason="stop", **message):
    return {
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": reason}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }


class Endpoint:
    """HTTP/1.1 in a thread. ``plan(question, time)`` says what happens when a question comes for the nth time.

    It returns a body (dict or bytes), (status, headers, body), 'close' before or 'cut' within the answer, 'drip' for an
    answer that comes byte by byte, or an awaitable of one of these.
    """

    def __init__(self, plan=lambda question, time: answer(f"re: {question}"), version="0.32.0", models=(MODEL,)):
        self.plan, self.version, self.models = plan, version, models
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
            return {"data": [{"id": name} for name in self.models]}
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


# ---------------------------------------------------------------- transcripts


def transcript(item="a", status="ok", **fields):
    failed = status in ("error", "timeout")
    given = {
        "run": "r", "item_id": item, "model": "m", "media": (PICTURE,), "request_hash": "f" * 64, "sampling": SAMPLING,
        "status": status, "text": None if failed else "A dog.", "error": "HTTP 500: no" if failed else None,
        "time": "2026-01-02T03:04:05.678+00:00", "origin": "run",
    }  # fmt: skip
    return Transcript(**given | fields)


# ---------------------------------------------------------------- scenes and judges


def scene_record(seed, facts=None):
    """A record without its image, which is slow to draw."""
    facts = facts or make_facts(random.Random(f"contestants-{seed}"))
    question = _describe_question(facts)
    messages = [{"role": "user", "content": question.request}]
    return Item("scene", seed, messages, list(question.answers), facts).record()


SCENES = [scene_record(seed) for seed in range(60)]


def reply(verdict, **others):
    """What a judging model writes; ``others`` are verdicts by dimension."""
    verdicts = {name: {"reason": "r", "verdict": others.get(name, verdict)} for name in read_rubric()}
    return answer(json.dumps(verdicts))


def answers_in(question):
    """The two answers that a judge was shown."""
    return [re.search(rf"<answer-{name}>\n(.*?)\n</answer-{name}>", question, re.DOTALL)[1] for name in "ab"]

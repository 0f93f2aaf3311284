"""Models side by side: asked the same on the same terms, recorded, read against facts, and compared::

    from toolkit.evaluation import Endpoint, compare, run_items, score_runs, write_report

    sampling = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 256, "seed": 0}
    for model, port in (("older", 8001), ("newer", 8002)):
        endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", model)
        await run_items("items", "answers.jsonl", endpoint, sampling, run=model)
    table = compare(score_runs("items", "answers.jsonl"), "newer", "older")
    write_report("items", "answers.jsonl", "report.html")

A folder of items holds ``items.jsonl`` and the media that it names; `toolkit.toyworld` draws such folders with exact
facts.

* Asking: `run_items` sends each item to an `Endpoint`, as a `RequestPolicy` says, and appends every attempt to a file,
  which `read_transcripts` reads; the same call goes on after an interruption. `endpoint_of` names a course server.
* Scoring: `score_runs` scores each answer, `compare` gives paired differences with intervals, `difference_plot` draws
  them, and `side_by_side` shows an item with both answers, their claims marked by what the facts say.
* Judging: `read_pairs` pairs the answers; `validate_judge` shows a judge, such as `RulesJudge`, pairs whose better
  answer is known, before it may rank (`toolkit.evaluation.judging`).
* Voting blindly: `make_ballot` draws pairs without names, its ``panel`` (a `VotePanel`) takes the votes in a notebook,
  and `tally` reveals the names. Without widgets, ``blind_vote.ballot_file.write_ballot`` writes the ballot as YAML.
* `write_report` writes answers, scores and differences as one HTML file that needs no network.

In a shell: ``course evaluate run|judge|report|export``.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.evaluation.blind_vote.ballot import make_ballot
    from toolkit.evaluation.blind_vote.panel import VotePanel
    from toolkit.evaluation.blind_vote.tally import tally
    from toolkit.evaluation.inference.client import Endpoint, RequestPolicy
    from toolkit.evaluation.inference.profile_run import endpoint_of
    from toolkit.evaluation.inference.runner import run_items
    from toolkit.evaluation.inference.transcripts import read_transcripts
    from toolkit.evaluation.judging.judge_validation import validate_judge
    from toolkit.evaluation.judging.pairwise import RulesJudge, read_pairs
    from toolkit.evaluation.metrics.scoring import compare, score_runs
    from toolkit.evaluation.report.charts import difference_plot, side_by_side
    from toolkit.evaluation.report.page import write_report

__all__, __getattr__, __dir__ = lazy_names(__name__)

"""``python -m helpers.vllm_program serve …`` is ``vllm serve …``, without an import that no server needs.

Transformers imports scikit-learn, which imports pandas, for one kind of generation; that takes a fifth of the time in
which vLLM is imported. A server's engine, a process of its own, runs this module again before anything else.
"""

import sys

sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]  # as if it were not installed

if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main

    sys.exit(main())

"""What a reader could use instead of vLLM, each in a process of its own, so that threads and memory are its own.

``post`` is the one process as its owner sees it, ``worker`` what runs in it, ``family`` starts servers below it and
lets them rest, ``asking`` puts requests to whatever speaks the OpenAI API. Every other module is one contender: a class
``Contender`` (see `worker.Contender`), made from a `worker.Job`.
"""

"""Measuring speed: vLLM's own benchmark tool, what a machine could reach, and dated results with a page made of them.

``vllm_bench`` and ``workload`` measure, ``roofline`` says what is possible here, ``growth`` and ``growth_run`` how cost
grows, ``soak`` what half an hour of requests and faults does to a server, ``settings`` which of the engine's are best,
``against`` (with ``race`` and ``contenders``) whether others are faster. ``parts`` lists what is measured, ``results``
keeps the figures, ``page`` shows them, ``command`` runs all of it.
"""

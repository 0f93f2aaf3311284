"""Measuring speed: vLLM's own benchmark tool, what a machine could reach, and dated results with a page made of them.

``vllm_bench`` and ``workload`` measure, ``roofline`` says what is possible here, ``growth`` how cost grows, ``results``
keeps the figures, ``page`` shows them, ``command`` runs all of it.
"""

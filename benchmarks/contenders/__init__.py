"""What a reader could use instead of vLLM, each in a process of its own, so that threads and memory are its own.

``post`` is the one process as its owner sees it, ``worker`` what runs in it, ``served`` starts servers below it and
puts requests to them. Every other module has contenders: classes derived from `worker.Contender`.
"""

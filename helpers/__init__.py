"""What several chapters share: small, flat, and importing nothing else of this project.

Choose a model and serve it::

    from helpers.profiles import use_profile
    from helpers.server import serve

    with serve(use_profile("auto")) as server:
        print(server.curl("Describe this image."))

Which model, on which machine:

- ``profiles``: one name that decides everything that differs between machines
- ``machine``: what this machine is (``toolkit.machine_check``: is it enough?); ``provenance``: it, on a record
- ``download`` and ``hubs``: a model onto this disk, verified
- ``model_facts``: parameters, memory and tokens from a ``config.json``; ``rehearsal``: its shape with random weights

Serving:

- ``server``: start, join and stop ``vllm serve``; ``server_checks`` before the start, ``server_log`` after a failure
- ``supervisor``: ends a server whose owner is gone; ``lost_servers``: what a notebook shows of one that is gone
- ``guard``: its answers to clients' mistakes
- ``local_http``: requests that bypass proxies; ``processes``: child processes of all kinds

Images and videos:

- ``media``: images and sampled frames; ``video_tokens``: what a video costs in a prompt
- ``drawings``: the frames that a model sees, in a row

Files and messages:

- ``files``: paths, YAML and whole writes; ``jsonl``: files that are appended to
- ``errors``: the one exception, with cause and remedy; ``progress``: one line that changes
- ``lazy``: the face of a package
"""

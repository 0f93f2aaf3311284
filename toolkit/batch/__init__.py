"""Offline inference over a folder of pictures: Ray Data hands out batches, actors hold engines, Parquet comes out.

``tasks`` knows what is asked and what is left, ``describer`` is the actor, ``parts`` are the files, ``run`` puts them
together, ``check`` tries it with a worker that is killed.
"""

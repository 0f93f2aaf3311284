"""Judging: a model or rules compare two answers, after they have been validated."""

"""Voting without names: ballot, panel, votes, tally."""

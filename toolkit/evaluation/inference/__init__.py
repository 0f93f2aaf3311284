"""Asking: requests, the runner that resumes, transcripts, export."""

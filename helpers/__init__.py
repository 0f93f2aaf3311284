"""What the course's notebooks share and do not teach: profiles, server control, downloads, the toy world, scoring."""

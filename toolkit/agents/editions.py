"""Which profile is the Thinking edition of another."""

from __future__ import annotations

from helpers.profiles import ActiveProfile, load_profiles, local_model, use_profile


def thinking_edition(active: ActiveProfile) -> ActiveProfile:
    """The Thinking edition of a profile's model, the profile ``NAME-thinking``; the same profile where there is none.

    Raises:
        CourseError: a released edition that is not on this disk while the hub is switched off.
    """
    found = load_profiles().get(f"{active.profile.name}-thinking")
    if not found or (found.source == "bundled" and not local_model(found)):
        return active
    return use_profile(found.name, rehearse=active.profile.rehearse, quiet=True)

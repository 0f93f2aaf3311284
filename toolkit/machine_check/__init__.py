"""Is this machine ready for the course? What was found, what is needed, and what to do (notebook 00, ``course env``).

::

    from toolkit.machine_check import check_table, look_here, profile_table

    machine = look_here()     # as long as ``import torch`` takes, in another process
    check_table(machine)      # item, found, needed, verdict, remedy
    profile_table(machine)    # which profiles run here, and why others do not

``package_table`` compares the installed packages with their pins; ``read_packages`` reads the pins of one requirements
file, and ``requirements_in_use`` says which is in use. ``DEVELOPMENT_ONLY`` names those that notebooks do without.
What is needed, and what to do otherwise, is in ``data/machine_checks.yaml``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.machine_check.checks import (
        DEVELOPMENT_ONLY,
        check_table,
        look_here,
        package_table,
        profile_table,
        requirements_in_use,
    )
    from toolkit.machine_check.look import read_packages

__all__, __getattr__, __dir__ = lazy_names(__name__)

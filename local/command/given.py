"""The variables that a person gave to make: one that its target does not read is refused, not ignored."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping

from local.errors import LocalStackError

EVERYWHERE = frozenset({"CD2_LOCAL_DIR", "PYTHON"})
STACK = frozenset({"ROWS", "PACE", "PORT"})
KNOWN: dict[str, frozenset[str]] = {
    "run": STACK | {"TABLES", "NAMESPACES", "CHECK", "FULL_REFRESH", "CHATBOT", "VERIFY"},
    "up": STACK,
    # the background process of up, which has its environment, and so what make was given
    "serve": STACK,
    "compare": frozenset({"TABLES", "NAMESPACES"}),
    "logs": frozenset({"TABLES", "NAMESPACES"}),
    "dap": frozenset({"ARGS"}),
    "psql": frozenset({"ARGS"}),
    "dictionary": frozenset({"OUT"}),
}
"""What each target reads; the others read nothing."""
_VARIABLE = re.compile(r"(?:^|(?<!\\)\s)([A-Za-z_]\w*)\s*:?=")


def check_variables(command: str, environment: Mapping[str, str] = os.environ) -> None:
    """Check the variables of make's command line, which make lists in MAKEFLAGS after its options.

    :raises LocalStackError: the target does not read one of them; says how it is spelt, or what there is.
    """
    given = _VARIABLE.findall(environment.get("MAKEFLAGS", "").partition("-- ")[2])
    known = KNOWN.get(command, frozenset())
    for name in given:
        if name in known | EVERYWHERE:
            continue
        if name == "CD2_DSN":
            raise LocalStackError(
                "A password in an argument is visible to everybody (ps): CD2_DSN=... make dictionary."
            )
        told = f"make {command} does not read {name}"
        if meant := difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.6):
            raise LocalStackError(f"{told}; did you mean {meant[0]}?")
        raise LocalStackError(f"{told}; it reads {', '.join(sorted(known))}." if known else f"{told}, or any variable.")

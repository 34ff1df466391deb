"""After all other stories of the session."""

from __future__ import annotations

import pytest

from local.stack import Stack
from tests.e2e.secrets_search import assert_no_secret_is_kept

pytestmark = pytest.mark.slow


def test_no_secret_is_kept_of_kills_clears_and_failures(stack: Stack) -> None:
    assert_no_secret_is_kept(stack)

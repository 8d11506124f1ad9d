"""For all tests: the same examples in every run, and no setting from the outside."""

import os

import pytest
from hypothesis import settings

from emotion_svc.config import ENV_PREFIX

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _default_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)

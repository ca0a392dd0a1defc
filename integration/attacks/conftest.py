"""The node is looked at from before the first attack on; test_zz_host.py compares."""

import pytest

from lib.host import Host


@pytest.fixture(scope="session", autouse=True)
def host():
    host = Host()
    yield host
    host.close()

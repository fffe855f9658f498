import pytest
from met_workers import meeting
from workers import addresses


@pytest.fixture
def workers():
    return tuple(addresses(3))


@pytest.fixture
def met(workers):
    found = meeting(workers)
    yield found
    for one in found:
        one.close()

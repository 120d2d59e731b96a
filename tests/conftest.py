"""What several test files share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from oleaster.models.fetch import FetchError, locate


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: at the end it would keep one core busy and the others idle."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def cached() -> Callable[[str], Path]:
    """Folder of a large pinned package that no test downloads; skips the test if it is absent."""

    def folder(name: str) -> Path:
        try:
            return locate(name)
        except FetchError as error:
            pytest.skip(str(error))

    return folder

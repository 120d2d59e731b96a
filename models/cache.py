"""Where fetched models and built simulators are kept."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_root() -> Path:
    """The folder that OLEASTER_CACHE names, made absolute, or the user's cache folder."""
    override = os.environ.get("OLEASTER_CACHE")
    return Path(override).resolve() if override else user_cache_path("oleaster")

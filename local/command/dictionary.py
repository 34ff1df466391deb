"""`make dictionary`: the data dictionary of the local replica, or of a database of one's own, as one HTML file."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path

import asyncpg
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from cd2.dictionary import catalog
from cd2.dictionary.page import render
from cd2.replication.errors import Cd2Error
from cd2.settings import RDS_CA_BUNDLE
from local.errors import LocalStackError

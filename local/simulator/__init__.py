"""A DAP (Canvas Data 2) service on a laptop: what the official client talks to when there is no Instructure around.

catalogue/   the tables, as text          columns.py   column types: JSON schema, PostgreSQL type
values.py    typed values, pure functions encoding.py  how a value is written (TSV, CSV, JSON lines, truth)
table.py     a table through time         rows.py      the rows of a table as a stream
world.py     all tables, the journal      jobs.py      queries turned into gzip objects on disk
service.py   the HTTP interface of DAP    control_api.py, control.py   the interface of tests and of the runner
"""

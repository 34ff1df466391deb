"""Keep a PostgreSQL database equal to an institution's Canvas Data 2: the package behind the DAG `canvas_data_2`."""

__version__ = "0.1.0"

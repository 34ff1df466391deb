"""The page "Canvas Data" in Airflow: files for the browser, and the app that serves them. It holds no data.

Imports nothing of ours; the page reads Airflow's REST API with the person's own rights.
"""

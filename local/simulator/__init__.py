"""A DAP (Canvas Data 2) service on a laptop, for the official client and for the DAG.

It plays the service, so it imports neither the plugin nor the rest of the local stack, and knows DAP by itself:
`catalogue` and `data` make tables and rows, `state` keeps what happened to them, `service` answers over HTTP.
"""

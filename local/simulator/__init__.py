"""A DAP (Canvas Data 2) service on a laptop: what the official client talks to when there is no Instructure around.

It plays the service, so it imports neither the plugin nor the rest of the local stack, and knows DAP by itself:
`catalogue` and `data` make tables and rows, `state` keeps what happened to them, `service` answers over HTTP.
"""

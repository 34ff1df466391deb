"""The commands of `make`: what a person starts, and what they read while it runs and afterwards.

The top of the house: it may import everything below `local`, and nothing there imports it.
"""

"""Tests: a folder for each kind of promise, and what they share."""

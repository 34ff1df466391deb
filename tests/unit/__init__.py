"""Settings, credentials, results, messages, errors."""

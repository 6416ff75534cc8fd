"""Suite ``features``: the Handbook's window features, online and offline, compared with others."""

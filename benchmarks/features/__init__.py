"""The suite ``features``: the Handbook's window features, online and built, beside other ways."""

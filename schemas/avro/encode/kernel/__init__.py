"""Compiled loop that writes records."""

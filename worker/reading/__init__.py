"""Reading topics as they are now, outside the group: for tables, and for labels."""

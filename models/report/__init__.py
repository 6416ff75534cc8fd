"""Style, HTML parts and chart canvas shared by the pages that people read."""

"""Fill: put events of the log into histories without scoring them.

`ranges` reads parts of the input topic with a consumer of its own, and `fill` finds out which of
their events are members of which histories.
"""

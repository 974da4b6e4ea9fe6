"""Models as data: what a network is (spec) and where its numbers lie (layout). No engine in here."""

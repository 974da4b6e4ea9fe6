"""Files written in one step with checksums, and the memory that is there."""

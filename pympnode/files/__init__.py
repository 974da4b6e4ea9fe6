"""Files written atomically and with checksums; free memory."""

"""What the datasets of both halves share: names, records, splits, reading, parts on disk."""

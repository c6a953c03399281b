"""Images and scenes: how they are fetched, described and validated."""

"""The images and the scenes: fetched, described, checked."""

"""Searches for better parameters: many trainings of one stage, judged by validation data alone."""

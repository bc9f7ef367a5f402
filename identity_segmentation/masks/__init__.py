"""Whose pixels? Named faces, boxes and words -> masks that belong to a person."""

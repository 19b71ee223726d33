"""Regression of the 106 facial landmarks."""

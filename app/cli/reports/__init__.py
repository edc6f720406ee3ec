"""Findings in the forms that people and programs read. Nothing here prints: each module gives text."""

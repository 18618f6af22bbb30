"""Whole pages: one self-contained HTML file each, its words, its browser, and the index.

Conventions: every string that a user or a file can name is escaped; a page is written whole.
"""

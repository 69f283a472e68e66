"""Piles from what a user has: folders, files, arrays, tables, data sets of other libraries."""

"""The rows of docs/equals.md, a module for each library."""

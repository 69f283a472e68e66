"""The command line: ``selftrain COMMAND``, the same as ``python -m selftrain COMMAND``; see docs/command-line.md."""

"""The command line: ``selftrain COMMAND``. What ends a command before its time, and the exit code of each end."""

from __future__ import annotations

from selftrain.errors import UsageError

# Nothing here may load torch: `selftrain --help` reads this file. 130 and 143 are 128 + the number of the signal.
OK, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
EXIT_CODES = f"""exit codes:
  {OK}    done
  {FAILED}    an error, or check-data found problems
  {USAGE}    the command line or a config file cannot be understood
  {INTERRUPTED}  interrupted (Ctrl-C); train, pretrain and compare go on with --resume
  {TERMINATED}  terminated (SIGTERM); likewise"""


# No ``Exception``, as KeyboardInterrupt is none: no handler on the way may take it for a failure and go on.
class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


__all__ = ["EXIT_CODES", "FAILED", "INTERRUPTED", "OK", "TERMINATED", "USAGE", "Terminated", "UsageError"]

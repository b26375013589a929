"""``python -m sadm.cli.as_job FOLDER COMMAND``: runs one command of a job, and says how it ended."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from sadm.core.files import write_atomically


def main() -> None:
    """Runs ``sadm`` with the words in the second argument (JSON), and writes its exit code into the folder."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a studio started with & hands down that it is ignored
    folder, words = Path(sys.argv[1]), json.loads(sys.argv[2])
    code = 1
    try:
        from sadm.cli.main import run

        code = run(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        write_atomically(folder / "code", str(code))
    sys.stdout.flush()
    os._exit(code)  # threads of libraries must not keep a finished job alive


if __name__ == "__main__":
    main()

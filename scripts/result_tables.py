"""Write every table and figure of docs/ that is made of committed results, in about 20 seconds.

    python scripts/result_tables.py [--check]

Runs each of `SCRIPTS`; `--check` writes nothing, and fails if a page is not what its script would
write.
"""

import argparse
import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    "default_tables.py",
    "experiment_tables.py",
    "pretraining_tables.py",
    "real_tables.py",
    "stress_tables.py",
    "study_tables.py",
    "time_tables.py",
    "views_tables.py",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = ["--check"] if parser.parse_args().check else []
    failed = False
    for name in SCRIPTS:
        command = [sys.executable, str(Path(__file__).with_name(name)), *options]
        wrong = subprocess.run(command, check=False).returncode != 0
        print(f"{name}: failed" if wrong else name, flush=True)
        failed |= wrong
    sys.exit(failed)


if __name__ == "__main__":
    main()

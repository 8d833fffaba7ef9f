"""Servers that are started often: a program that has everything loaded, and forks one a line.

    python -m tests.support.mortal

For each line it reads it starts `campfire serve` in its own environment, and says as which process;
the server says where it listens; and in the end how it ended is said.
"""

import os
import sys

import campfire as program


def main() -> None:
    sys.argv[1:] = ["serve"]
    for _ in sys.stdin:
        if not (child := os.fork()):
            sys.stdin.close()
            os._exit(program.main())
        sys.stdout.write(f"process {child}\n")
        sys.stdout.flush()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"ended {code}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""A process that takes a lock: `python lock_process.py FOLDER [OTHER_MACHINE]`.

It prints 'held' or the error, and lets go when its standard input ends.
"""

import sys

from facejax.host import locks


def main():
    if len(sys.argv) > 2:  # as if it ran elsewhere
        locks._machine = lambda: sys.argv[2]
        locks._BEAT_SECONDS = 0.05
    try:
        with locks.folder_lock(sys.argv[1], "training") as lock:
            print("held", flush=True)
            sys.stdin.read()
            lock.check()
    except locks.LockError as error:
        print(error, flush=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

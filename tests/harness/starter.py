"""Starts a program with ignored or blocked signals, as nohup or a CI runner does.

python starter.py ignore=INT,QUIT block=TERM -- program arguments
"""

import os
import signal
import sys


def main() -> None:
    end = sys.argv.index("--")
    for option in sys.argv[1:end]:
        what, _, names = option.partition("=")
        numbers = [getattr(signal, f"SIG{name}") for name in names.split(",")]
        if what == "block":
            signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
            continue
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
    os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])


if __name__ == "__main__":
    main()

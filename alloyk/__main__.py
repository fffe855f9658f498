"""`python -m alloyk` is `alloyk`."""

import signal


def run() -> None:
    """Run the command line; Ctrl-C while its modules load ends the process without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        from alloyk.cli import main

        signal.signal(signal.SIGINT, signal.default_int_handler)
    else:
        from alloyk.cli import main
    main(prog_name="alloyk")


if __name__ == "__main__":
    run()

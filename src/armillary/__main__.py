"""``python -m armillary``: the command line, also as torchrun starts it."""

from armillary.cli import main

if __name__ == "__main__":
    main()

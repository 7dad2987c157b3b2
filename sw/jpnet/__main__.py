"""``python -m jpnet``: the ``jpnet`` command."""

from jpnet.cli import main

if __name__ == "__main__":
    main()

"""`python -m dagdvid`: the command line."""

from dagdvid.cli import main

if __name__ == "__main__":
    main(prog_name="dagdvid")

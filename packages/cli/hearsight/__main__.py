"""`python -m hearsight`: the same as the command `hearsight`."""

from hearsight.main import run

if __name__ == "__main__":
    run()

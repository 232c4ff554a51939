"""`python -m thumbprint`, the same as the command `thumbprint`."""

from .cli import main

if __name__ == "__main__":  # pragma: no branch - nobody imports this
    raise SystemExit(main())

"""``python -m stream`` is ``weir``."""

from stream.cli import main

if __name__ == "__main__":
    main()

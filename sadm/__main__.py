"""``python -m sadm`` is the command ``sadm``."""

from sadm.cli.main import main

if __name__ == "__main__":
    main()

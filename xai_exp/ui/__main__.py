"""`python -m xai_exp.ui` is `python -m xai_exp ui`."""

from xai_exp.ui import main

if __name__ == "__main__":
    main()

"""`python -m app.cli`, for a tree that is not installed."""

from app.cli import main

if __name__ == "__main__":
    main(prog_name="egress-gateway")

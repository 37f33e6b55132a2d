"""The command line's entry."""


def main() -> None:
    """Run `headrace`."""
    raise SystemExit("not yet")

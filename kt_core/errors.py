"""The one error of the package: what went wrong, where, and the way out."""


class KTError(ValueError):
    """Bad input or configuration, worded for the person who has to mend it."""

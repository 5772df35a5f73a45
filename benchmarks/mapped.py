"""The function that is mapped, on both sides."""


def square(item: int) -> int:
    """Trivial, so that what is measured is the way there and back."""
    return item * item

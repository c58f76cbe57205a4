"""What is said of a field that cannot be used: plainly, and without giving personal data away."""

from __future__ import annotations

import re
from datetime import date

LONGEST_SHOWN = 40
CARD_NUMBER = re.compile(r"\d(?:[ .\-]?\d){11,}")


class FieldError(ValueError):
    """A field of an event that cannot be used: which one, what is expected there, what was found."""

    def __init__(self, field: str, expected: str, found: str) -> None:
        """`found` is shown to people and kept: pass what `shown` made of the value."""
        super().__init__(f"the field {field}: expected {expected}, found {found}")
        self.field = field


def shown(value: object, *, personal: bool = False) -> str:
    """A value as a reason may quote it: short, what could be a card number masked, personal ones not at all.

    >>> shown("57,16"), shown("4111 1111 1111 1111"), shown("Ada", personal=True)
    ("'57,16'", "'[16 digits]'", 'a text of 3 characters')
    """
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f"a text of {len(value)} characters" if personal else repr(shortened(masked(value)))
        case int() | float():
            return "a number" if personal else shortened(masked(str(value)))
        case date():
            return value.isoformat()
        case dict():
            return "an object"
        case list() | tuple():
            return "a list"
    return f"a value of type {type(value).__name__}"


def masked(text: str) -> str:
    """The text with every run of twelve or more digits replaced: it could be a card number.

    >>> masked("paid with 4111-1111-1111-1111 today")
    'paid with [16 digits] today'
    """
    return CARD_NUMBER.sub(lambda run: f"[{sum(map(str.isdigit, run[0]))} digits]", text)


def abbreviated(text: str) -> str:
    """The text with every card number in it as analysts may see one: six digits and four, or four where it is short.

    >>> abbreviated("4539123456781234"), abbreviated("3782-822463-10005"), abbreviated("4222222222222")
    ('4539 12** **** 1234', '3782 82** ***0 005', '**** **** *222 2')
    >>> abbreviated("customer 17")
    'customer 17'
    """
    return CARD_NUMBER.sub(lambda run: _abbreviated("".join(filter(str.isdigit, run[0]))), text)


def _abbreviated(digits: str) -> str:
    first = 6 if 15 <= len(digits) <= 19 else 0
    hidden = digits[:first] + "*" * (len(digits) - first - 4) + digits[-4:]
    return " ".join(hidden[at : at + 4] for at in range(0, len(hidden), 4))


def shortened(text: str, longest: int = LONGEST_SHOWN) -> str:
    """The text's beginning, if it is long.

    >>> shortened("abcdef", 3)
    'abc... (6 characters)'
    """
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"

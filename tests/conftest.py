"""What holds for every test."""

from hypothesis import settings

# No assertion of ours looks at the clock, and a busy machine must not fail one of hypothesis' either.
settings.register_profile("weir", deadline=None, print_blob=True)
settings.load_profile("weir")

"""What every test starts from."""

import os

from hypothesis import HealthCheck, settings

# A run in the gate must give the same verdict twice: nothing is random there, nothing is timed.
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=200, print_blob=True)
settings.register_profile("soak", deadline=None, max_examples=20_000)
settings.register_profile(
    "quick", deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

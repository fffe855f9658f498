"""A configuration made from a data set: fingerprint → rules → plan.

`fingerprint` measures the data set with the measures of `alloyk.auditing`. `rules` has every rule,
each with its reason; docs/configure.md is the same on one page. `plan` applies them under what the
user has set, and writes the plan as YAML.
"""

from alloyk.autoconfig.fingerprint import Fingerprint, fingerprint_of
from alloyk.autoconfig.plan import Choice, Plan, plan_training

__all__ = ["Choice", "Fingerprint", "Plan", "fingerprint_of", "plan_training"]

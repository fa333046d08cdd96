"""The tricks: what makes them do nothing or harm, and what they will cost."""

import math

from recipes import order
from recipes.doctor.contract import Look, Skip, check
from recipes.doctor.patient import Patient


@check("tricks", cheap=True)
def sense(patient: Patient, look: Look) -> None:
    """What each trick says against its own settings in this run."""
    run = patient.run
    if not run.tricks:
        raise Skip("no trick is on")
    look.at(len(run.tricks), "tricks")
    for name, trick in run.tricks.items():
        neutral = trick.neutral
        if not isinstance(neutral, str) and all(
            getattr(trick, field, None) == value for field, value in neutral.items() if "." not in field
        ):
            values = ", ".join(f"tricks.{name}.{field}={value}" for field, value in neutral.items() if "." not in field)
            look.warn(f"{name} does nothing at {values}.", "it is on and changes nothing", f"leave out {name}")
        for sentence in trick.check(run):
            says, _, remedy = sentence.partition("; ")
            look.warn(says.rstrip("."), f"{name} does nothing, or harms", remedy.rstrip("."))


@check("tricks", cheap=True)
def cost(patient: Patient, look: Look) -> None:
    """Passes that an update will cost."""
    run = patient.run
    if not run.tricks:
        raise Skip("no trick is on")
    look.at(len(run.tricks), "tricks")
    dear = {name: trick.passes for name, trick in run.tricks.items() if trick.passes != 1}
    if dear:
        product = math.prod(dear.values())
        each = ", ".join(f"{name} {passes:g}" for name, passes in dear.items())
        look.note(f"{product:g} forward and backward passes an update at the values of their YAML files ({each}).")
    seams = order.onion(run.tricks)
    look.note("; ".join(f"{seam}: {' > '.join([*names, 'base'])}" for seam, names in seams.items()))

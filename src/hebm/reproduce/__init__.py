"""Tables and figures of the paper, from training to verdict."""

from hebm.reproduce.cells import cell_state, record_place
from hebm.reproduce.earlier import earlier_records
from hebm.reproduce.plan import Plan, make_plan
from hebm.reproduce.runner import Outcome, cell_works, reproduce
from hebm.reproduce.spec import Spec, load_spec, spec_names

__all__ = [
    "Outcome",
    "Plan",
    "Spec",
    "cell_state",
    "cell_works",
    "earlier_records",
    "load_spec",
    "make_plan",
    "record_place",
    "reproduce",
    "spec_names",
]

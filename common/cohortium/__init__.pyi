from cohortium.data.conditions.constructors import between as between
from cohortium.data.conditions.constructors import other_than as other_than
from cohortium.data.schema import Schema as Schema
from cohortium.data.schema import load_schema as load_schema
from cohortium.drafting.draft import Draft as Draft
from cohortium.drafting.proposals import draft_schema as draft_schema
from cohortium.errors import CohortiumError as CohortiumError
from cohortium.study.study import Study as Study
from cohortium.study.study import load_study as load_study
from cohortium_server.release import Answer as Answer
from cohortium_server.release import Release as Release
from cohortium_server.release import load_release as load_release
from cohortium_simulation.compare.comparison import compare as compare
from cohortium_simulation.experiment import Ledgers as Ledgers
from cohortium_simulation.experiment import simulate as simulate
from cohortium_simulation.fitting import fit as fit

__version__: str
__all__: list[str]

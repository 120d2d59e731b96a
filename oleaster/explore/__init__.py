"""Design-space exploration: studies of designs' parameters, run by Optuna and kept in a database.

`run_study` evaluates what a study's store lacks and returns an `Exploration`: its points, the
Pareto front, rows for a DataFrame. docs/explore.md says what a study is.
"""

from oleaster.explore.error import StudyError
from oleaster.explore.results import Exploration, Point
from oleaster.explore.run import run_study, stored_study
from oleaster.explore.study import Study, load_study, study_names

__all__ = [
    "Exploration",
    "Point",
    "Study",
    "StudyError",
    "load_study",
    "run_study",
    "stored_study",
    "study_names",
]

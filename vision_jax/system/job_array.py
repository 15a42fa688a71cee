"""The number that a scheduler gives to each job of an array."""

from collections.abc import Mapping

from vision_jax.config import UserError

# A scheduler's variable, and where its arrays begin to count.
FIRST = {
    "SLURM_ARRAY_TASK_ID": 0,
    "PBS_ARRAY_INDEX": 0,
    "PBS_ARRAYID": 0,  # Torque
    "SGE_TASK_ID": 1,
    "LSB_JOBINDEX": 1,  # LSF
    "JOB_COMPLETION_INDEX": 0,  # an indexed Job of Kubernetes
    "AWS_BATCH_JOB_ARRAY_INDEX": 0,
}


def index(environment: Mapping[str, str]) -> int:
    """Returns this job's number in its array, counted from 0.

    Slurm and PBS begin where the array's range does, which is best 0; Grid Engine and LSF cannot
    begin before 1, and their 1 is 0 here.

    Args:
      environment: of the process.

    Raises:
      UserError: no job array is recognised, or its number is below the first.
    """
    for name, first in FIRST.items():
        # Outside of arrays Grid Engine says 'undefined' and LSF 0.
        if environment.get(name, "").isdecimal() and int(environment[name]) >= first:
            return int(environment[name]) - first
    raise UserError(f"no job array is recognised: none of {', '.join(FIRST)} has a number")

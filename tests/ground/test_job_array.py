"""A job's number in its array, as schedulers tell it."""

import pytest

from vision_jax.config import UserError
from vision_jax.system import job_array


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_ARRAY_TASK_ID": "0"}, 0),
        ({"SLURM_ARRAY_TASK_ID": "17", "SLURM_PROCID": "0"}, 17),
        ({"PBS_ARRAY_INDEX": "3"}, 3),
        ({"PBS_ARRAYID": "3"}, 3),
        ({"SGE_TASK_ID": "1"}, 0),
        ({"LSB_JOBINDEX": "4"}, 3),
        ({"JOB_COMPLETION_INDEX": "2"}, 2),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "5"}, 5),
        ({"SGE_TASK_ID": "undefined", "SLURM_ARRAY_TASK_ID": "6"}, 6),
    ],
)
def test_index(environment, expected):
    assert job_array.index(environment) == expected


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "4711"},
        {"SLURM_ARRAY_TASK_ID": ""},
        {"SGE_TASK_ID": "undefined"},
        {"SGE_TASK_ID": "0"},
        {"LSB_JOBINDEX": "0"},
    ],
)
def test_outside_of_an_array_it_is_refused(environment):
    with pytest.raises(UserError, match="no job array is recognised: none of SLURM_ARRAY_TASK_ID"):
        job_array.index(environment)

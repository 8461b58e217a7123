"""Tasks, which a model can learn: one file for each, the contract in task.py, and the list of all tasks here."""

from ..ground.schema import one_of, record
from .pairs import PairTask
from .special import SPECIALITIES, SpecialTask
from .task import Task, identity
from .text import TextTask
from .world import CONTEXT, WorldTask

TASKS = (WorldTask, SpecialTask, TextTask, PairTask)
TASK_OF_KIND = {kind: task for task in TASKS for kind in task.kinds}


def task_from_json(json, tokenizer=None, workers=None, folder=None):
    """The inverse of `Task.to_json`, for a checkpoint in a folder.

    ValueError if the JSON does not describe a task, or if the file with its data is gone.
    """
    kind = record({"kind": one_of(*TASK_OF_KIND)})(json, "task")["kind"]
    task = TASK_OF_KIND[kind]
    task.kinds[kind](json, "task")
    return task.from_json(json, tokenizer, workers, folder)


__all__ = ["CONTEXT", "PairTask", "SPECIALITIES", "SpecialTask", "TASKS", "Task", "TextTask", "WorldTask", "identity",
           "task_from_json"]

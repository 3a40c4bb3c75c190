"""What each of two processes runs in `test_two_processes_share_an_evaluation`: its words are those of the call."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from emoscene.evaluation.evaluate import evaluate
from emoscene.pipeline.pipeline import EmotionPipeline

torch.set_num_threads(1)
dist.init_process_group("gloo")
assert dist.get_world_size() == int(sys.argv[1])
painted = []
draw = EmotionPipeline.generate
EmotionPipeline.generate = lambda self, rows, batch=8: draw(self, painted.append(list(rows)) or painted[-1], batch)
evaluate(**json.loads(Path(sys.argv[2]).read_text()))
counts = [None] * dist.get_world_size()
dist.all_gather_object(counts, [row.file for rows in painted for row in rows])
assert all(counts), f"a process painted nothing: {counts}"
files = [file for mine in counts for file in mine]
assert len(files) == len(set(files)), "a picture was painted twice"
dist.destroy_process_group()

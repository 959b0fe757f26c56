"""A run that is killed, at any moment and again and again, ends as one that was not."""

from __future__ import annotations

import json
import os

import pytest
from processes import run_python

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of Unix")

# Trains a small network and prints, as JSON, what became of each process that was killed. All are
# forks of one process, so that torch is loaded once.
KILLED = """
import hashlib, json, random, sys, time, warnings
from pathlib import Path
import torch
from portraitlib.training.checkpoints import (
    load_optimizer, newest_checkpoint, open_run, optimizer_tensors, save_checkpoint
)
from processes import PROOF_SYNCS, attempt, kill_by_plan, newest_step

STEPS, EVERY = 80, 5
base = Path(sys.argv[1])

def train(folder):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    names = [name for name, _ in network.named_parameters()]
    ballast = torch.randn(250_000, generator=torch.Generator().manual_seed(1))  # slows the save
    with open_run(folder, {"rank": 4}) as run:
        found = newest_checkpoint(run)
        if found:
            network.load_state_dict({name: found.tensors[name] for name in names})
            load_optimizer(optimizer, names, found.tensors, found.state["optimizer"])
        begun = found.step if found else 0
        with open(folder.with_suffix(".log"), "a") as log:
            log.write(f"{begun}\\n")
        for step in range(begun, STEPS):
            noise = torch.randn(16, 8, generator=torch.Generator().manual_seed(step))
            loss = (network(noise) - noise.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (step + 1) % EVERY == 0:
                remembered, state = optimizer_tensors(optimizer, names)
                tensors = {**network.state_dict(), **remembered, "ballast": ballast}
                save_checkpoint(run, step + 1, tensors, {"optimizer": state})

def attempted(folder, **how):
    # Where it began is what the process itself has noted, if it came that far.
    newest, log = newest_step(folder), folder.with_suffix(".log")
    lines = len(log.read_text().splitlines()) if log.exists() else 0
    status = attempt(train, folder, **how)
    begun = log.read_text().splitlines()[lines:] if log.exists() else []
    assert begun in ([], [str(newest)]), (begun, newest)
    return status, begun

def weights(folder):
    # Weights and the optimizer's state at the end, as one hash.
    tensors = newest_checkpoint(folder).tensors
    assert newest_checkpoint(folder).step == STEPS
    content = b"".join(name.encode() + tensors[name].numpy().tobytes() for name in sorted(tensors))
    return hashlib.sha256(content).hexdigest()

torch.set_num_threads(1)
first = torch.nn.Parameter(torch.zeros(1))
first.grad = torch.zeros(1)
torch.optim.AdamW([first]).step()  # loads much of torch, once for all
start_s = time.perf_counter()
assert attempt(train, base / "whole") == 0
whole_s = time.perf_counter() - start_s
draw = random.Random(int(sys.argv[2]))
# In the middle of each of the first five saves; among them moments at random, mostly early enough
# for the work to go on many times.
plan = [{"sync": PROOF_SYNCS + count} for count in range(1, 6)]
plan += [{"moment_s": draw.uniform(0, whole_s / 5)} for _ in range(15)]
draw.shuffle(plan)
told, ended, last = kill_by_plan(attempted, weights, base, plan)
warnings.simplefilter("ignore")
if attempt(train, last) == 0:
    ended.append(weights(last))
print(json.dumps({"told": told, "ended": ended, "whole": weights(base / "whole")}))
"""


@POSIX
def test_a_run_killed_at_twenty_moments_ends_with_the_very_weights_of_one_that_was_not(tmp_path):
    done = run_python(KILLED, str(tmp_path), "5")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["told"]) == 20
    assert sum(each["inside"] for each in result["told"]) == 5
    assert sum(each["halves"] for each in result["told"]) >= 4
    assert any(begun > "0" for each in result["told"] for begun in each["begun"])
    assert set(result["ended"]) == {result["whole"]}

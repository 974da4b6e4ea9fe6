"""The five particle models in their published form, against every golden model file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import is_selection, skip_selection
from nbody_models import golden_models, model_files

from pympnode.particles.engine import delta, hamiltonian
from pympnode.particles.engine.program import ParticleProgram, Target

FILES = 21  # models of both families, three graphs, two systems


def all_compared(compared: int, folder: Path) -> bool:
    fewest = 2 if is_selection(folder) else FILES
    return compared == len(model_files(folder)) >= fewest


def bound(case, **options):
    program = ParticleProgram(
        case.spec, _scales(), case.step, dtype="float64", device="cpu", **options
    )
    start = case.start
    batch = program.batch(start.position, start.velocity, start.mass, start.charge, case.box)
    goal = case.target
    after = program.batch(goal.position, goal.velocity, goal.mass, goal.charge, case.box)
    return program, batch, Target(after.position, after.velocity)


def _scales():
    from pympnode.particles.spec import ParticleScales

    return ParticleScales()


def test_models_equal_the_reference_nbody_model_files(reference_dir: Path) -> None:
    compared = 0
    for case in golden_models(reference_dir):
        program, batch, target = bound(case)
        weights = program.weights(case.theta)
        graph = program.graph(batch)
        x, v = program.next_state(weights, batch, graph, training=False)
        np.testing.assert_allclose(
            torch.cat([x, v], 1).numpy(), case.output, rtol=0, atol=1e-10, err_msg=case.name
        )
        loss, gradient = program.loss_and_gradient(case.theta, batch, target)
        assert loss == pytest.approx(case.loss, abs=1e-10, rel=1e-10), case.name
        np.testing.assert_allclose(
            gradient, case.gradient, rtol=1e-10, atol=1e-10, err_msg=case.name
        )
        compared += 1
    assert all_compared(compared, reference_dir)


def test_raw_outputs_equal_the_reference_nbody_model_files(reference_dir: Path) -> None:
    compared = 0
    for case in golden_models(reference_dir):
        program, batch, _ = bound(case)
        net = program.networks(program.weights(case.theta), case.box)
        graph = program.graph(batch)
        if case.spec.family == "hogn":
            *_, energies = hamiltonian.next_state(net, batch, graph, differentiable=False)
            raw = torch.stack(energies).detach().numpy()
        else:
            raw = delta.raw_output(net, batch, graph).numpy()
        np.testing.assert_allclose(
            raw.ravel(), case.raw.ravel(), rtol=1e-11, atol=1e-10, err_msg=case.name
        )
        compared += 1
    assert all_compared(compared, reference_dir)


def test_every_kind_of_model_is_in_the_reference_nbody_model_files(reference_dir: Path) -> None:
    if is_selection(reference_dir):
        skip_selection("models of two kinds only")
    names = [path.name for path in model_files(reference_dir)]
    for kind in (
        "model_DeltaGN",
        "model_HOGN",
        "model_HierarchicalDeltaGN",
        "model_HierarchicalHOGN",
    ):
        assert any(name.startswith(kind + "_") for name in names), kind
    assert any("_15nn_" in name for name in names)

"""Public names refer to the same objects, whatever was imported before."""

from __future__ import annotations

import pkgutil
import warnings
from functools import reduce
from importlib import import_module
from types import ModuleType

import pytest

PACKAGES = (
    "systems", "networks", "networks.graphs", "particles", "particles.graphs", "plotting",
    "experiments",
)  # fmt: skip


@pytest.mark.parametrize("name", ["", *PACKAGES])
def test_no_module_has_the_name_of_a_public_function(name: str) -> None:
    """Importing a.b sets the attribute b of a: a module of that name would hide the function."""
    package = import_module(f"pympnode.{name}".rstrip("."))
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    public = {n for n in package.__all__ if not isinstance(getattr(package, n), ModuleType)}
    assert modules & public == set()


def test_every_public_name_exists() -> None:
    for name in ("", *PACKAGES):
        package = import_module(f"pympnode.{name}".rstrip("."))
        assert package.__all__
        for public in package.__all__:
            assert getattr(package, public) is not None, f"{package.__name__}.{public}"


# Names that the reference of version 0.1 listed, and those of it that scripts use.
VERSION_0_1 = """
    Graph Model ModelSpec ParticleModel ParticleSpec Result TrainConfig cli.status_of
    config.PresetChoice config.preset couple data.Generated data.Normalisation data.Solution
    data.generate data.generate.generate data.integrate.integrate data.leapfrog.fly
    data.open_parts data.particles.simulate_particles data.parts.open_parts
    data.split_trajectories engines engines.base engines.julia.engine.JuliaEngine
    engines.torch.engine.TorchEngine engines.torch.engine.choose_kernel
    engines.torch.engine.resolve_device errors evaluate evaluation.baselines.persistence
    evaluation.baselines.uncoupled evaluation.metrics evaluation.metrics.evaluate_model
    evaluation.observables.observable_errors evaluation.observables.observe
    evaluation.particle_models.evaluate_particles evaluation.particles.knows_law
    evaluation.particles.observe evaluation.particles.particle_errors experiments.Experiment
    experiments.Row experiments.Test experiments.columns experiments.experiment
    experiments.names experiments.results experiments.run experiments.table finetune from_arrays
    from_frame from_particles graphs.Box graphs.Hierarchy graphs.Level graphs.ParticleEdges
    graphs.as_box graphs.connection graphs.fully_connected graphs.hierarchy
    graphs.nearest_neighbours graphs.published_graph graphs.published_omega graphs.resolve
    graphs.topology.default_options load mixed.LearnedNode mixed.Mixed models.layout.Layout
    models.layout.layout_of models.particle_spec.ParticleScales particle_fitting.train_particles
    particle_model.ParticleRange particle_presets.ParticlePreset
    particle_presets.particle_preset particle_schema plotting plotting.accessor plotting.animate
    plotting.animate_particles plotting.comparison plotting.conservation
    plotting.error_by_degree plotting.error_over_particles plotting.error_over_time
    plotting.graph_state plotting.grid_state plotting.hierarchy_of plotting.message_norms
    plotting.observables plotting.parity plotting.particle_error_over_time
    plotting.particle_trajectories plotting.phase_portrait plotting.prediction plotting.scaling
    plotting.training_curves ranges.TrainingRange schema schema.Arrays schema.graphs_of
    schema.pack schema.record schema.unpack schema.validate schema.with_record simulate
    storage.read_netcdf systems.Observable systems.Parameter systems.System systems.Variable
    systems.coulomb.Coulomb systems.gene.Gene systems.gene.GeneHotSpots
    systems.gene.mean_expression systems.get systems.gravity.Gravity systems.heat.Heat
    systems.heat.mean_temperature systems.kuramoto.ControlledKuramoto systems.kuramoto.Kuramoto
    systems.kuramoto.order_parameter systems.kuramoto.phase_difference
    systems.lorenz.DiagonalLorenz systems.lorenz.Lorenz systems.lorenz.published_coupling
    systems.names systems.own.OwnSystem systems.own_system systems.particles.ParticleState
    systems.particles.ParticleSystem systems.pendulum.CoupledPendulum systems.pendulum.Pendulum
    systems.pendulum.angle_difference systems.pendulum.energy systems.register
    systems.starts.draw_start systems.starts.plummer train training.trainer.Trainer
""".split()


@pytest.mark.parametrize("name", VERSION_0_1)
def test_a_name_of_version_0_1_still_works(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        parts = name.split(".")
        for length in range(len(parts), -1, -1):
            try:
                module = import_module(".".join(["pympnode", *parts[:length]]))
                break
            except ModuleNotFoundError:
                continue
        assert reduce(getattr, parts[length:], module) is not None

"""Train on 1000 trajectories of three coupled Lorenz attractors, then fine-tune on 50 of ten.

    python examples/finetune_lorenz.py     # about two minutes on two cores

Writes lorenz3.nc and lorenz10.nc. Prints the errors on ten attractors of three models: trained on
three attractors (zero-shot), fine-tuned on the 50 trajectories, and trained on them from scratch. The attractors are
coupled strongly: at the published strength, a Frobenius norm of .01, a model needs no messages.
"""

from __future__ import annotations

import pympnode

PHYSICS = dict(system="lorenz", parameters={"coupling": "high"})
FEW = dict(nodes=10, trajectories=50)


def main() -> None:
    lorenz3 = pympnode.train(**PHYSICS, nodes=3)
    lorenz3.model.save("lorenz3.nc")

    lorenz10 = pympnode.finetune("lorenz3.nc", **PHYSICS, **FEW)
    lorenz10.model.save("lorenz10.nc")
    print(lorenz10)

    scratch = pympnode.train(**PHYSICS, **FEW)
    test = lorenz10.test_set(200)
    for name, model in {
        "zero-shot": lorenz3.model,
        "fine-tuned": lorenz10.model,
        "from scratch": scratch.model,
    }.items():
        score = pympnode.evaluate(model, test).sel(predictor="model")
        print(
            f"{name:12} loss {float(score.loss):8.3f}   rmse {float(score.rmse_z):.4f} z   "
            f"valid for {float(score.valid_time.mean()):.2f} time units"
        )


if __name__ == "__main__":
    main()

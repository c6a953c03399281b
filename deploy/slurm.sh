#!/bin/bash
# Trains what has changed on a SLURM cluster, and shares the results. Submit it from the root of the clone, which must
# lie on storage that all nodes share, with .venv in it (make test builds it): sbatch deploy/slurm.sh
#SBATCH --job-name=deepdigits
#SBATCH --nodes=2                 # processes that share each training, one a node; compute.shards must be a multiple
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2         # compute.threads in params.yaml
#SBATCH --time=04:00:00
#SBATCH --output=slurm-%j.log
set -euo pipefail

export NODES=$SLURM_JOB_NUM_NODES
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
# export MLFLOW_TRACKING_URI=https://mlflow.example    # see deploy/mlflow.env

.venv/bin/dvc pull --allow-missing || true   # what a colleague has trained need not be trained again
make repro-all
make share

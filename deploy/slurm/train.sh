#!/bin/bash
# Data-parallel training under SLURM: one process a node. Not run on a cluster where it was written.
#
#   sbatch deploy/slurm/train.sh photos runs/photos
#SBATCH --job-name=train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --output=train-%j.log
# For GPUs, one process each: --ntasks-per-node=4 --gpus-per-task=1
set -euo pipefail

data=${1:?usage: sbatch train.sh DATA RUN}
run=${2:?usage: sbatch train.sh DATA RUN}

export OMP_NUM_THREADS="$SLURM_CPUS_PER_TASK"
# All processes of the step end when one fails.
srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    train fit --distributed slurm --data "$data" --out "$run"

#!/bin/bash
# Bulk inference as a SLURM array: a shard a task. Not run on a cluster where it was written.
#
#   sbatch --array=0-7 deploy/slurm/classify.sh photos.onnx labels photos
#
# A task that is preempted, or whose node fails, is queued again and skips what is in place. After a time limit, submit the
# same array again. To run one shard again by itself:
#
#   sbatch --array=0 --export=ALL,SHARD=3/8 deploy/slurm/classify.sh photos.onnx labels photos
#SBATCH --job-name=classify
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --output=classify-%A_%a.log
set -euo pipefail

model=${1:?usage: sbatch --array=0-N classify.sh MODEL OUT INPUT...}
out=${2:?usage: sbatch --array=0-N classify.sh MODEL OUT INPUT...}
shift 2

# Exit code 1 says that some images failed: their rows say why, and the shard is complete.
code=0
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" infer classify "$@" --model "$model" --out "$out" \
    --shard "${SHARD:-auto/$SLURM_ARRAY_TASK_COUNT}" || code=$?
if [ "$code" -eq 1 ]; then code=0; fi
exit "$code"

#!/usr/bin/env bash
# Trains one model on several machines; the job goes back into the queue until the training is done.
#
#   sbatch examples/slurm.sh --recipe folder32 --data /shared/images --out /shared/runs/mine
#
# The images and the run folder must lie where all machines see them.
#SBATCH --job-name=sadm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@180
set -uo pipefail

export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1  # or processes that start again look for dead ones
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# One torchrun a machine; it starts one process a GPU.
srun --kill-on-bad-exit=1 torchrun \
  --nnodes="$SLURM_NNODES" \
  --nproc-per-node="${SLURM_GPUS_ON_NODE:-8}" \
  --rdzv-id="$SLURM_JOB_ID" \
  --rdzv-backend=c10d \
  --rdzv-endpoint="$head:29400" \
  --max-restarts=3 \
  -m sadm train "$@" &
training=$!

# Three minutes before the time is up, Slurm sends TERM to this script: the training saves, and the job starts again.
requeue() {
  kill -TERM "$training" 2>/dev/null
  wait "$training"
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}
trap requeue TERM
wait "$training"

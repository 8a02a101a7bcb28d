#!/usr/bin/env bash
# One node's share of a training: starts torchrun, and hands signals to the processes that it started. For train.sbatch.
set -uo pipefail

python=${PYTHON:-python}
restarts=${MAX_RESTARTS:-3}

# torchrun neither knows SIGUSR1 nor survives it, and SLURM may send it to every process of the node: it is ignored by
# torchrun, and by its processes until they listen to it.
(
    trap '' USR1
    exec "$python" -m torch.distributed.run \
        --nnodes="${SLURM_JOB_NUM_NODES:-1}" --nproc-per-node="${PROCESSES_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}}" \
        --rdzv-backend=c10d --rdzv-endpoint="${RENDEZVOUS:-localhost:0}" \
        --rdzv-id="${SLURM_JOB_ID:-0}.${SLURM_RESTART_COUNT:-0}" --max-restarts="$restarts" \
        run_seq2seq.py "$@"
) &
launcher=$!

# end_of_slot: the processes finish their update and save; then torchrun goes, before it takes their end for a crash and
# starts them again. (If it has begun to, nothing is lost: what they saved is on the disk.)
end_of_slot() {
    local workers
    workers=$(cat /proc/"$launcher"/task/*/children 2>/dev/null)
    # Again and again, for those that were still loading and did not listen yet.
    while [[ -n $workers ]] && kill -USR1 $workers 2>/dev/null; do sleep 1; done
    kill -TERM "$launcher" 2>/dev/null
    wait "$launcher"
    (($? == 0)) && exit 0 # done just in time
    exit 138
}

# preempted: torchrun hands SIGTERM on itself and does not start anything again.
preempted() {
    kill -TERM "$launcher" 2>/dev/null
    wait "$launcher"
    (($? == 0)) && exit 0
    exit 143
}

trap end_of_slot USR1
trap preempted TERM
wait "$launcher"

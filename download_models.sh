#!/bin/sh
# Fetch published weights to the places where GHOST looks for them. See --help.
set -eu

NOT_FOUND=4 NETWORK=5 MISMATCH=6 CANNOT_WRITE=7
MANIFEST=weights/manifest.tsv
case ${GHOST_WEIGHTS:-} in
    '') FOLDER=weights ;;
    /* | [A-Za-z]:[\\/]*) FOLDER=$GHOST_WEIGHTS ;; # the latter in Git Bash
    *) FOLDER=$PWD/$GHOST_WEIGHTS ;;
esac
MIRROR=${GHOST_MIRROR:-}
[ ! -d "$MIRROR" ] || MIRROR=$(cd "$MIRROR" && pwd)
RECORDED=$FOLDER/recorded.tsv
LOCK=$FOLDER/.download.lock
TAB=$(printf '\t')

usage() {
    cat <<'EOF'
Usage: download_models.sh [inference | training | all | FILE ...]

Fetches the files of weights/manifest.tsv. Without arguments: inference.
  inference   what photos and videos need
  training    what train.py, preprocess_vgg.py and fine-tuning need
  all         everything that was published
  FILE        single files by name, such as G_unet_2blocks.pth

Broken transfers are continued, files that are there and right are left alone: run it again at any time.
Size and SHA-256 are verified where they are known. Where they are not, those of the first download are recorded in
recorded.tsv beside the weights and hold from then on.

Environment:
  GHOST_WEIGHTS     folder that stands for weights/, as for the programs
  GHOST_MIRROR      fetch NAME from $GHOST_MIRROR/NAME instead of its own address: the address of a folder with all
                    files, or such a folder on this machine
  GHOST_DOWNLOADER  curl or wget; without it, whichever is installed
  GHOST_ATTEMPTS    how often a broken transfer is taken up again (5)
  GHOST_WAIT        seconds between attempts (3)

Exit code: 0 all there; 2 wrong arguments; 3 a tool is missing; 4 a file is not on the server; 5 the network failed;
6 a file is not the expected one; 7 a file cannot be written or the disk is full.
EOF
}

say() { printf '%s\n' "$*"; }
complain() { printf 'download_models.sh: %s\n' "$*" >&2; }
die() { status=$1; shift; complain "$@"; exit "$status"; }

choose_tools() {
    downloader=${GHOST_DOWNLOADER:-}
    [ -n "$downloader" ] || downloader=$(command -v curl || command -v wget || true)
    case ${downloader##*/} in
        curl | wget) command -v "$downloader" >/dev/null || die 3 "$downloader is not installed" ;;
        '') die 3 "neither curl nor wget is installed; install one of them" ;;
        *) die 2 "GHOST_DOWNLOADER is '$downloader'; use curl or wget" ;;
    esac
    if command -v sha256sum >/dev/null; then hasher="sha256sum"
    elif command -v shasum >/dev/null; then hasher="shasum -a 256"
    else die 3 "neither sha256sum nor shasum is installed; downloads could not be verified"
    fi
}

size_of() { wc -c <"$1" | tr -d ' '; }
sha256_of() { $hasher <"$1" | cut -c1-64; } # for a name with backslashes, hashers print one before the sum

# Two runs would write to the same partial files.
lock() {
    mkdir -p "$FOLDER" 2>/dev/null || die $CANNOT_WRITE "cannot create the folder $FOLDER"
    if [ -f "$LOCK" ] && kill -0 "$(cat "$LOCK")" 2>/dev/null; then
        die 2 "another download runs in this folder (process $(cat "$LOCK")); wait for it or stop it"
    fi
    echo $$ 2>/dev/null >"$LOCK" || die $CANNOT_WRITE "cannot write to $FOLDER"
    trap 'rm -f "$LOCK"' EXIT
    trap 'complain "interrupted; run it again to continue"; exit 130' INT TERM
}

# --- one transfer -----------------------------------------------------------------------------------------------------

# Each sets `outcome` to ok, missing (the server said no), broken (worth another attempt), apart (no connection), restart
# or full.
transfer_with_curl() {
    code=0
    answer=$("$downloader" --fail --location --progress-bar --connect-timeout 20 --speed-limit 500 --speed-time 60 \
        --continue-at - --write-out '%{http_code}' --output "$2" "$1" </dev/null) || code=$?
    case $code in
        0) outcome=ok ;;
        22) case $answer in
                408 | 429 | 5??) outcome=broken ;;
                416) # nothing beyond what is there: complete, if a checksum can tell
                    if [ "$sha" = - ]; then outcome=restart; else outcome=ok; fi ;;
                *) outcome=missing ;;
            esac ;;
        5 | 6 | 7) outcome=apart ;;
        33) outcome=restart ;; # this server cannot continue
        23 | 153) outcome=full ;;
        *) outcome=broken ;;
    esac
}

transfer_with_wget() {
    code=0
    said=$(LC_ALL=C "$downloader" --no-verbose --continue --tries=1 --timeout=60 --output-document="$2" "$1" \
        </dev/null 2>&1) || code=$?
    [ -z "$said" ] || printf '%s\n' "$said" >&2
    case $code in
        0) outcome=ok ;;
        3 | 153) outcome=full ;;
        4)
            case $said in
                *resolve* | *refused* | *unreachable*) outcome=apart ;;
                *) outcome=broken ;;
            esac ;;
        8) # the server's refusal, of which only some are for good
            case $said in
                *"ERROR 416"* | *"response 416"*) outcome=restart ;; # wget and wget2 say it each in its way
                *"ERROR 408"* | *"ERROR 429"* | *"ERROR 5"*) outcome=broken ;;
                *"response 408"* | *"response 429"* | *"response 5"*) outcome=broken ;;
                *) outcome=missing ;;
            esac ;;
        *) outcome=broken ;;
    esac
}

path_in() { printf '%s\n' "$1" | sed 's,^file://\(localhost\)\{0\,1\},,; s/%20/ /g'; }

copy_from_disk() {
    if [ ! -f "$1" ]; then outcome=missing
    elif [ ! -r "$1" ]; then outcome=broken
    elif cp "$1" "$2"; then outcome=ok
    else outcome=full; fi
}

# fetch URL PARTIAL: 0, NOT_FOUND, NETWORK or CANNOT_WRITE
fetch() {
    attempt=1
    while :; do
        case $1 in
            file://*) copy_from_disk "$(path_in "$1")" "$2" ;;
            /*) copy_from_disk "$1" "$2" ;;
            *) "transfer_with_${downloader##*/}" "$1" "$2" ;;
        esac
        case $outcome in
            ok) return 0 ;;
            missing) [ -s "$2" ] || rm -f "$2"
                case $1 in
                    /* | file://*) complain "there is no file $1" ;;
                    *) complain "not on the server: $1" ;;
                esac
                return $NOT_FOUND ;;
            full) complain "cannot write $2: is the disk full?" "$(free_space "$2") free; run again to continue"
                return $CANNOT_WRITE ;;
            restart) rm -f "$2" ;;
            apart) [ "$attempt" -gt 1 ] || break ;; # a connection that was there may come back
        esac
        [ "$attempt" -lt "${GHOST_ATTEMPTS:-5}" ] || break
        attempt=$((attempt + 1))
        say "  $(trouble "$2"), attempt $attempt of ${GHOST_ATTEMPTS:-5}"
        sleep "${GHOST_WAIT:-3}"
    done
    again="run again"
    [ ! -s "$2" ] || again="what arrived is kept, run again to continue"
    case $1 in
        /* | file://*) complain "cannot read $1; may you read it, and is the disk still there?" ;;
        *) complain "$(trouble "$2"): $1; $again" ;;
    esac
    return $NETWORK
}

# trouble PARTIAL: what happened, in words
trouble() {
    case $outcome in
        apart) printf 'no connection (is this machine online?)' ;;
        restart) printf 'the transfer starts anew' ;;
        *) if [ -s "$1" ]; then printf 'the transfer was broken off'; else printf 'nothing came'; fi ;;
    esac
}

free_kilobytes() { df -Pk "$(dirname "$1")" 2>/dev/null | awk 'NR == 2 { print $4 }'; }
free_space() { printf '%s MB' "$(($(free_kilobytes "$1") / 1024))"; }

# room PARTIAL BYTES: is there room for what is still missing?
room() {
    [ "$2" != - ] || return 0
    have=0
    [ ! -f "$1" ] || have=$(size_of "$1")
    available=$(free_kilobytes "$1")
    [ -n "$available" ] || return 0
    if [ $((($2 - have) / 1024)) -ge "$available" ]; then
        complain "no space for $1: $((($2 - have) / 1048576 + 1)) MB to come, $(free_space "$1") free"
        return $CANNOT_WRITE
    fi
}

# --- verification -----------------------------------------------------------------------------------------------------

# matches FILE BYTES SHA256: is the file as expected, as far as that is known? Says why not.
matches() {
    [ -s "$1" ] || { why="it is empty"; return 1; }
    if [ "$2" != - ] && [ "$(size_of "$1")" != "$2" ]; then
        why="it has $(size_of "$1") bytes, expected $2"; return 1
    fi
    if [ "$3" != - ]; then
        actual=$(sha256_of "$1")
        [ "$actual" = "$3" ] || { why="its SHA-256 is $actual, expected $3"; return 1; }
    elif [ "$(head -c 1 "$1")" = '<' ]; then
        why="it is a web page, not weights"; return 1
    fi
}

# expected PATH: what an earlier run recorded, where the manifest knows nothing; sets bytes and sha
expected() {
    [ "$sha" = - ] && [ -f "$RECORDED" ] || return 0
    line=$(path=$1 awk -F '\t' '$1 == ENVIRON["path"]' "$RECORDED" | tail -n 1) # -v would take backslashes for escapes
    [ -n "$line" ] || return 0
    bytes=$(printf '%s' "$line" | cut -f 2)
    sha=$(printf '%s' "$line" | cut -f 3)
}

record() {
    [ -f "$RECORDED" ] || printf 'path\tbytes\tsha256\n' >"$RECORDED"
    printf '%s\t%s\t%s\n' "$1" "$(size_of "$1")" "$(sha256_of "$1")" >>"$RECORDED"
}

# --- one file ---------------------------------------------------------------------------------------------------------

unpack() { # ARCHIVE MEMBER OUTPUT
    if command -v unzip >/dev/null; then unzip -p "$1" "*$2" >"$3"
    else
        python3 - "$1" "$2" "$3" <<'EOF'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive, open(sys.argv[3], "wb") as output:
    member = next(name for name in archive.namelist() if name.endswith(sys.argv[2]))
    shutil.copyfileobj(archive.open(member), output)
EOF
    fi
}

# obtain URL PATH: bring the file to PATH.partial, out of its archive if the address names a member after '#'
obtain() {
    address=${1%%#*}
    [ -z "$MIRROR" ] || address=${MIRROR%/}/${address##*/}
    say "  from $address"
    case $1 in
        *#*) ;;
        *) fetch "$address" "$2.partial"; return ;;
    esac
    archive=$FOLDER/${address##*/}.partial
    fetch "$address" "$archive" || return
    if ! unpack "$archive" "${1##*#}" "$2.partial" || [ ! -s "$2.partial" ]; then
        complain "cannot take ${1##*#} out of $archive: not a whole archive, or the disk is full; it was removed"
        rm -f "$archive" "$2.partial"
        return $MISMATCH
    fi
    rm -f "$archive"
}

# accept PATH: verify PATH.partial and give it its name
accept() {
    if ! matches "$1.partial" "$bytes" "$sha"; then
        rm -f "$1.partial"
        return $MISMATCH
    fi
    mv "$1.partial" "$1" || return $CANNOT_WRITE
    if [ "$sha" = - ]; then
        record "$1"
        say "  done; no checksum was published, recorded $(sha256_of "$1")"
    else
        say "  done and verified"
    fi
}

keep() { # PATH
    if ! matches "$1" "$bytes" "$sha"; then
        complain "$1 is not the expected file: $why. It was left alone; move or delete it and run again"
        return $MISMATCH
    fi
    if [ "$sha" = - ]; then say "$1: there already; no checksum is known"; else say "$1: there and verified"; fi
}

get_file() { # PATH URL; bytes and sha are set
    expected "$1"
    if [ -f "$1" ]; then keep "$1"; return; fi
    say "$1"
    mkdir -p "$(dirname "$1")" || return $CANNOT_WRITE
    room "$1.partial" "$bytes" || return
    resumed=no
    [ ! -s "$1.partial" ] || resumed=yes
    obtain "$2" "$1" || return
    result=0
    accept "$1" || result=$?
    if [ "$result" = $MISMATCH ] && [ "$resumed" = yes ]; then
        say "  $why: the earlier part belonged to another file; starting anew"
        obtain "$2" "$1" || return
        result=0
        accept "$1" || result=$?
    fi
    [ "$result" != $MISMATCH ] || complain "$1 from $address is not the expected file: $why. It was removed"
    return "$result"
}

# --- all files --------------------------------------------------------------------------------------------------------

check_arguments() {
    for argument in "$@"; do
        case $argument in
            inference | training | all) ;;
            *) cut -f 1 "$MANIFEST" | tail -n +2 | grep -qxF -e "$argument" ||
                die 2 "'$argument' is neither inference, training, all nor a file of $MANIFEST; see --help" ;;
        esac
    done
}

wanted() { # NAME GROUPS ARGUMENT...
    name=$1 groups=,$2,
    shift 2
    for argument in "$@"; do
        case $argument in "$name" | all) return 0 ;; esac
        case $groups in *",$argument,"*) return 0 ;; esac
    done
    return 1
}

main() {
    case "${1:-}" in -h | --help) usage; exit 0 ;; esac
    cd "$(dirname "$0")"
    [ -f "$MANIFEST" ] || die 2 "$PWD/$MANIFEST is missing; run the script inside its checkout"
    [ $# -gt 0 ] || set -- inference
    check_arguments "$@"
    choose_tools
    lock
    worst=0
    while IFS=$TAB read -r name path url bytes sha groups licence; do
        [ "$name" != name ] && wanted "$name" "$groups" "$@" || continue
        case $path in weights/*) path=$FOLDER/${path#weights/} ;; esac
        status=0
        get_file "$path" "$url" || status=$?
        [ "$worst" != 0 ] || worst=$status
        # Without network or room the other files would fare no better.
        case $status in "$NETWORK" | "$CANNOT_WRITE") exit "$status" ;; esac
    done <"$MANIFEST"
    [ "$worst" = 0 ] || complain "not everything was fetched; see the messages above"
    exit "$worst"
}

main "$@"

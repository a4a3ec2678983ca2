# The tools that deploy/release and deploy/check need, and a packer. Both read this file; nothing runs it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/target/tools
export PATH=$tools/bin:$PATH

# Builds a cargo command, without optimisation: it takes longer to build than to run. `cargo_tool NAME VERSION OPTION…`
cargo_tool() {
    local name=$1 version=$2
    grep -qs "\"$name $version " "$tools/.crates.toml" && return
    echo "building $name $version"
    CARGO_TARGET_DIR=$tools/build CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 \
        cargo install --quiet --debug --locked --root "$tools" "$name@$version" "${@:3}"
}

# A tar archive whose owners, times and order are the same on every machine: `pack ARCHIVE FOLDER NAME`.
pack() {
    tar --create --directory "$2" --dereference --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" \
        --owner=0 --group=0 --numeric-owner --mode=go-w "${@:4}" "$3" | gzip --no-name >"$1"
}
